"""ONNX Runtime's fused normalisations: of a sum, and of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.normalisation import layer_norm, rms_norm
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


class SkipNorm(nn.Module):
    """Normalisation of the sum of two tensors and a bias; the sum is the fourth output."""

    def __init__(self, eps: float, outputs: int, centred: bool) -> None:
        super().__init__()
        self.eps, self.outputs, self.centred = eps, outputs, centred

    def forward(self, x: Tensor, skip: Tensor, scale: Tensor, beta: Tensor | None = None, bias: Tensor | None = None) -> object:
        total = x + skip if bias is None else x + skip + bias
        if self.centred:
            y, mean, inverse = layer_norm(total, scale, beta, -1, self.eps)
            return y if self.outputs == 1 else (y, mean, inverse, total)
        y, inverse = rms_norm(total, scale, -1, self.eps)
        return y if self.outputs == 1 else (y, inverse, inverse, total)


class SkipRMSNorm(SkipNorm):
    """RMS normalisation of such a sum; its fourth input is the bias of the sum."""

    def forward(self, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None) -> object:  # type: ignore[override]
        return super().forward(x, skip, scale, None, bias)


@converter("SkipLayerNormalization", *_RUNTIME, domain=_MICROSOFT)
def skip_layer_normalization(node: Node) -> TorchOperator:
    """SkipLayerNormalization: LayerNormalization(input + skip + bias)."""
    return SkipNorm(node.get("epsilon", 1e-12), node.outputs, centred=True)


@converter("SkipSimplifiedLayerNormalization", *_RUNTIME, domain=_MICROSOFT)
def skip_rms_normalization(node: Node) -> TorchOperator:
    """SkipSimplifiedLayerNormalization: RMSNormalization(input + skip + bias)."""
    return SkipRMSNorm(node.get("epsilon", 1e-12), node.outputs, centred=False)


class EmbedNorm(nn.Module):
    """Normalised sum of word, position and segment embeddings."""

    def __init__(self, eps: float, outputs: int) -> None:
        super().__init__()
        self.eps, self.outputs = eps, outputs

    def forward(
        self, ids: Tensor, segments: Tensor | None = None, words: Tensor | None = None, places: Tensor | None = None,
        kinds: Tensor | None = None, scale: Tensor | None = None, bias: Tensor | None = None,
        mask: Tensor | None = None, positions: Tensor | None = None,
    ) -> object:  # fmt: skip
        assert words is not None
        assert places is not None
        where = torch.arange(ids.shape[1], device=ids.device) if positions is None else positions.long()
        total = words[ids.long()] + places[where]
        if segments is not None and kinds is not None:
            total = total + kinds[segments.long()]
        y = layer_norm(total, scale, bias, -1, self.eps)[0]
        lengths = torch.zeros_like(ids[:, 0]) if mask is None else mask.sum(1)
        return y if self.outputs == 1 else (y, lengths.to(torch.int32), total)


@converter("EmbedLayerNormalization", *_RUNTIME, domain=_MICROSOFT)
def embed_layer_normalization(node: Node) -> TorchOperator:
    """EmbedLayerNormalization; its second output is the number of ones in the mask."""
    return EmbedNorm(node.get("epsilon", 1e-12), node.outputs)
