"""Operators of ONNX Runtime with channels last: convolution, maximum pooling, group normalisation.

They are described in ContribOperators.md of ONNX Runtime; the layout of NhwcConv's weights is defined by the optimiser that
writes it (`fusion_nhwc_conv.py`). Only NhwcMaxPool has a kernel for CPUs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.convolution import Conv
from onnxspace.torchgraph.operators.fused import make_activation
from onnxspace.torchgraph.operators.pooling import MaxPool
from onnxspace.torchgraph.operators.windows import read_window
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


class ChannelsFirst(nn.Module):
    """Applies a module with channels on the second axis to an input and output with channels last."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, *rest: Tensor | None) -> Tensor:
        result: Tensor = self.inner(x.movedim(-1, 1), *rest)
        return result.movedim(1, -1)


class NhwcConv(nn.Module):
    """Convolution with channels last, in the weights as well."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.inner = ChannelsFirst(Conv(node))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        result: Tensor = self.inner(x, weight.movedim(-1, 1), bias)
        return result


@converter("NhwcConv", *_RUNTIME, domain=_MICROSOFT)
def nhwc_conv(node: Node) -> TorchOperator:
    """NhwcConv."""
    return NhwcConv(node)


class NhwcFusedConv(nn.Module):
    """Convolution with channels last, a sum, an activation; its weights lie as those of Conv."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.inner, self.activation = ChannelsFirst(Conv(node)), make_activation(node)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
        total = self.inner(x, weight, bias)
        result: Tensor = self.activation(total if added is None else total + added)
        return result


@converter("NhwcFusedConv", *_RUNTIME, domain=_MICROSOFT)
def nhwc_fused_conv(node: Node) -> TorchOperator:
    """NhwcFusedConv."""
    return NhwcFusedConv(node)


@converter("NhwcMaxPool", *_RUNTIME, domain=_MICROSOFT)
def nhwc_max_pool(node: Node) -> TorchOperator:
    """NhwcMaxPool of 8-bit integers."""
    return ChannelsFirst(MaxPool(read_window(node), places=False, column_major=False))


class GroupNorm(nn.Module):
    """Group normalisation with a scale and an offset per channel, and an optional SiLU."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.groups, self.eps = int(node.get("groups")), float(node.get("epsilon", 1e-5))
        self.swish, self.last = bool(node.get("activation", 0)), bool(node.get("channels_last", 1))

    def forward(self, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        first = x.movedim(-1, 1) if self.last else x
        result = torch.group_norm(first, self.groups, scale, offset, self.eps)
        result = F.silu(result) if self.swish else result
        return result.movedim(1, -1) if self.last else result


@converter("GroupNorm", *_RUNTIME, domain=_MICROSOFT)
def group_norm(node: Node) -> TorchOperator:
    """GroupNorm, followed by SiLU if `activation` is 1."""
    return GroupNorm(node)


class SkipGroupNorm(nn.Module):
    """A sum and its group normalisation; the sum is the second output."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.norm, self.outputs = GroupNorm(node), node.outputs

    def forward(
        self, x: Tensor, scale: Tensor, offset: Tensor, skip: Tensor, bias: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        total = x + (skip[:, None, None] if skip.dim() == 2 else skip)
        total = total if bias is None else total + bias
        result: Tensor = self.norm(total, scale, offset)
        return result if self.outputs == 1 else (result, total)


@converter("SkipGroupNorm", *_RUNTIME, domain=_MICROSOFT)
def skip_group_norm(node: Node) -> TorchOperator:
    """SkipGroupNorm; the added tensor may have one value per channel, with or without spatial axes."""
    if not node.get("channels_last", 1):
        raise NotImplementedError("SkipGroupNorm with channels first")
    return SkipGroupNorm(node)
