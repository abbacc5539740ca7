"""Operators of ONNX Runtime whose channels come last: convolution, maximum pooling, group normalisation.

Each is described in ContribOperators.md of ONNX Runtime, the weights of NhwcConv by the optimiser that writes it
(`fusion_nhwc_conv.py`). Only NhwcMaxPool has a kernel for the processor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.convolution import Conv
from onnxspace.torchgraph.operators.pooling import MaxPool, window
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 where a model does not import the domain, which ONNX Runtime allows


class ChannelsFirst(nn.Module):
    """A module that wants channels in second place, for an input and an output that have them in the last."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, *rest: Tensor | None) -> Tensor:
        made: Tensor = self.inner(x.movedim(-1, 1), *rest)
        return made.movedim(1, -1)


class NhwcConv(nn.Module):
    """Convolution whose weights have their input channels last too."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.inner = ChannelsFirst(Conv(node))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        made: Tensor = self.inner(x, weight.movedim(-1, 1), bias)
        return made


@converter("NhwcConv", *_RUNTIME, domain=_MICROSOFT)
def nhwc_conv(node: Node) -> TorchOperator:
    """NhwcConv."""
    return NhwcConv(node)


@converter("NhwcMaxPool", *_RUNTIME, domain=_MICROSOFT)
def nhwc_max_pool(node: Node) -> TorchOperator:
    """NhwcMaxPool of 8-bit integers."""
    return ChannelsFirst(MaxPool(window(node), places=False, column_major=False))


class GroupNorm(nn.Module):
    """Group normalisation with a scale and an offset per channel, and what follows it."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.groups, self.eps = int(node.get("groups")), float(node.get("epsilon", 1e-5))
        self.swish, self.last = bool(node.get("activation", 0)), bool(node.get("channels_last", 1))

    def forward(self, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        first = x.movedim(-1, 1) if self.last else x
        made = torch.group_norm(first, self.groups, scale, offset, self.eps)
        made = F.silu(made) if self.swish else made
        return made.movedim(1, -1) if self.last else made


@converter("GroupNorm", *_RUNTIME, domain=_MICROSOFT)
def group_norm(node: Node) -> TorchOperator:
    """GroupNorm, and SiLU behind it where `activation` is one."""
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
        made: Tensor = self.norm(total, scale, offset)
        return made if self.outputs == 1 else (made, total)


@converter("SkipGroupNorm", *_RUNTIME, domain=_MICROSOFT)
def skip_group_norm(node: Node) -> TorchOperator:
    """SkipGroupNorm; what is added may be of one value per channel, with or without axes for the places."""
    if not node.get("channels_last", 1):
        raise NotImplementedError("SkipGroupNorm with channels first")
    return SkipGroupNorm(node)
