"""Rotary position embedding of the ONNX standard and of ONNX Runtime."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.attention_heads import join_heads, split_heads
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate pairs of the first features of `x` [batch, heads, length, size]; `cos` and `sin` are [batch, length, pairs]."""
    size = 2 * cos.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    half = size // 2
    pairs = turned.reshape(*x.shape[:-1], half, 2) if interleaved else turned.reshape(*x.shape[:-1], 2, half).mT
    a, b = pairs.unbind(-1)
    c, s = cos.unsqueeze(1), sin.unsqueeze(1)
    both = torch.stack([c * a - s * b, s * a + c * b], -1)
    return torch.cat([(both if interleaved else both.mT).flatten(-2), rest], -1)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding, with heads packed or not, and pairs interleaved or not."""

    def __init__(self, heads: int, interleaved: bool, size: int) -> None:
        super().__init__()
        self.heads, self.interleaved, self.size = heads, interleaved, size

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        result = split_heads(x, self.heads or x.shape[2] // (self.size or 2 * cos.shape[-1])) if x.dim() == 3 else x
        if positions is not None:
            places = positions.long()
            if places.numel() == 1 and result.shape[2] > 1:  # the position of the first token
                places = places.reshape(1, 1) + torch.arange(result.shape[2], device=x.device)
            cos, sin = cos[places], sin[places]
        result = rotate_pairs(result, cos, sin, self.interleaved)
        return join_heads(result) if x.dim() == 3 else result


def _make_rotary(node: Node) -> RotaryEmbedding:
    return RotaryEmbedding(node.get("num_heads", 0), bool(node.get("interleaved", 0)), node.get("rotary_embedding_dim", 0))


@converter("RotaryEmbedding", 23)
def rotary_embedding(node: Node) -> TorchOperator:
    """RotaryEmbedding of the ONNX standard."""
    return _make_rotary(node)


@converter("RotaryEmbedding", *_RUNTIME, domain=_MICROSOFT)
def rotary_embedding_of_runtime(node: Node) -> TorchOperator:
    """RotaryEmbedding of ONNX Runtime, whose second input is the positions."""
    if node.get("is_packed_batching", 0) or node.get("scale", 1.0) != 1.0:  # its kernel for CPUs ignores the scale
        raise NotImplementedError("packed batches or a scale")
    return PositionsSecond(_make_rotary(node))


class PositionsSecond(nn.Module):
    """A rotary embedding whose second input is the positions."""

    def __init__(self, inner: RotaryEmbedding) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        result: Tensor = self.inner(x, cos, sin, positions)
        return result
