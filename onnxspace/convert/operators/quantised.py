"""QuantizeLinear and DequantizeLinear with straight-through gradients, so that an int8 artifact can be explained.

Forward they compute what the standard says, in floating point. Backward, rounding counts as the identity and saturation
as the clipping that it is: exporters express ReLU by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxspace.convert.node import Made, Node, converter

_RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767), torch.uint16: (0, 65535)}


def _along(axis: int, values: Tensor, x: Tensor) -> Tensor:
    """Per-tensor values as they are, per-axis values shaped to broadcast over `x`."""
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return values.reshape(shape)


class Quantize(nn.Module):
    """`clamp(round(x / scale) + zero, low, high)`, kept as floating point; rounds half to even."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        low, high = _RANGES[torch.uint8 if zero is None else zero.dtype]
        shift = torch.zeros((), device=x.device) if zero is None else _along(self.axis, zero, x).to(x.dtype)
        exact = x / _along(self.axis, scale, x) + shift
        rounded = exact + (torch.round(exact - shift) + shift - exact).detach()
        return torch.clamp(rounded, low, high)


class Dequantize(nn.Module):
    """`(x − zero) · scale`."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        factor = _along(self.axis, scale, x)
        shift = 0 if zero is None else _along(self.axis, zero, x).to(factor.dtype)
        return (x.to(factor.dtype) - shift) * factor


_VERSIONS = (10, 13, 19, 21, 23, 24, 25)


@converter("QuantizeLinear", *_VERSIONS)
def quantize(node: Node) -> Made:
    """QuantizeLinear, per tensor or per axis."""
    _refuse_blocks(node)
    return Quantize(node.get("axis", 1))


@converter("DequantizeLinear", *_VERSIONS)
def dequantize(node: Node) -> Made:
    """DequantizeLinear, per tensor or per axis."""
    _refuse_blocks(node)
    return Dequantize(node.get("axis", 1))


def _refuse_blocks(node: Node) -> None:
    if any(node.get(name) for name in ("block_size", "output_dtype")):
        raise NotImplementedError("blocked quantisation")
