"""QuantizeLinear and DequantizeLinear with straight-through gradients, so that an int8 artifact can be explained.

Forward they compute what the ONNX standard specifies, in floating point. Backward, rounding counts as the identity and
saturation as clipping, because exporters express ReLU by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

_T = onnx.TensorProto
_RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767), torch.uint16: (0, 65535)}
#: Integer types that Torch lacks, by their ONNX numbers, and their ranges.
_NARROW = {_T.UINT4: (0, 15), _T.INT4: (-8, 7)} | {
    getattr(_T, name): limits for name, limits in (("UINT2", (0, 3)), ("INT2", (-2, 1))) if hasattr(_T, name)
}
_WHOLE: dict[int, torch.dtype] = {_T.UINT8: torch.uint8, _T.INT8: torch.int8, _T.INT16: torch.int16, _T.UINT16: torch.uint16}
_FLOAT8: dict[int, tuple[torch.dtype, float]] = {
    _T.FLOAT8E4M3FN: (torch.float8_e4m3fn, 448.0),
    _T.FLOAT8E4M3FNUZ: (torch.float8_e4m3fnuz, 240.0),
    _T.FLOAT8E5M2: (torch.float8_e5m2, 57344.0),
    _T.FLOAT8E5M2FNUZ: (torch.float8_e5m2fnuz, 57344.0),
}
_FLOAT4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

Round = Callable[[Tensor], Tensor]


def broadcast_along(axis: int, values: Tensor, x: Tensor, block: int = 0) -> Tensor:
    """Reshape per-axis or per-block `values` to broadcast over `x`; a per-tensor value becomes a scalar."""
    if values.numel() == 1:
        return values.reshape(())
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    shape = [1] * x.dim()
    shape[axis] = -1
    return values.reshape(shape)


def straight_through(exact: Tensor, rounded: Tensor, low: float, high: float) -> Tensor:
    """`rounded`, clamped to `low` and `high`, with the gradient of the clamped `exact` (straight-through estimator)."""
    return torch.clamp(exact + (rounded - exact).detach(), low, high)


def quantise_to_type(exact: Tensor, zero: Tensor | None, shift: Tensor | float) -> Tensor:
    """Round `exact`, in units of the scale, add `shift`, and clamp to the range of the type of the zero point `zero`."""
    low, high = _RANGES[torch.uint8 if zero is None else zero.dtype]
    return straight_through(exact + shift, torch.round(exact) + shift, low, high)


def float8_rounding(kind: torch.dtype) -> Round:
    """A function that rounds to the 8-bit floating-point type `kind`."""
    return lambda x: x.to(kind).to(x.dtype)


def round_to_float4(x: Tensor) -> Tensor:
    """Round to the nearest 4-bit float, ties to the one with an even last bit."""
    levels = torch.tensor(_FLOAT4, device=x.device, dtype=x.dtype)
    gaps = (x.abs()[..., None] - levels).abs()
    even = torch.arange(8, device=x.device) % 2 == 0
    nearest = gaps == gaps.amin(-1, keepdim=True)
    score = nearest.int() * 2 + (nearest & even).int()
    return levels[score.argmax(-1)] * torch.sign(x)


class Quantize(nn.Module):
    """`clamp(round(x / scale) + zero, low, high)` as floating point; rounds half to even.

    The range is that of the zero point's type, unless `limits` and `rounding` are given.
    """

    def __init__(
        self, axis: int, block: int = 0, limits: tuple[float, float] | None = None, rounding: Round = torch.round
    ) -> None:
        super().__init__()
        self.axis, self.block, self.limits, self.rounding = axis, block, limits, rounding

    def forward(self, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        low, high = self.limits or _RANGES[torch.uint8 if zero is None else zero.dtype]
        shift = (
            torch.zeros((), device=x.device) if zero is None else broadcast_along(self.axis, zero, x, self.block).to(x.dtype)
        )
        exact = x / broadcast_along(self.axis, scale, x, self.block)
        if self.rounding is torch.round:
            return straight_through(exact + shift, torch.round(exact) + shift, low, high)
        within = torch.clamp(exact, low, high)  # a float saturates before it is rounded, and has no zero point
        return straight_through(within, self.rounding(within), low, high)


class Dequantize(nn.Module):
    """`(x − zero) · scale`."""

    def __init__(self, axis: int, block: int = 0) -> None:
        super().__init__()
        self.axis, self.block = axis, block

    def forward(self, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        factor = broadcast_along(self.axis, scale, x, self.block)
        shift = 0 if zero is None else broadcast_along(self.axis, zero, x, self.block).to(factor.dtype)
        return (x.to(factor.dtype) - shift) * factor


_VERSIONS = (10, 13, 19, 21, 23, 24, 25, 28)


@converter("QuantizeLinear", *_VERSIONS)
@converter("QuantizeLinear", 0, 1, domain="com.microsoft")
def quantize(node: Node) -> TorchOperator:
    """QuantizeLinear, per tensor, per axis or in blocks, to integers and to narrow floats."""
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    kind: Any = node.element_type(2) or node.get("output_dtype", 0) or _T.UINT8
    if kind in _WHOLE:
        return Quantize(axis, block, _RANGES[_WHOLE[kind]])
    if kind in _NARROW:
        return Quantize(axis, block, _NARROW[kind])
    if kind == _T.FLOAT4E2M1:
        return Quantize(axis, block, (-6.0, 6.0), round_to_float4)
    if kind not in _FLOAT8 or not node.get("saturate", 1):
        raise NotImplementedError("quantisation to this element type")
    dtype, limit = _FLOAT8[kind]
    return Quantize(axis, block, (-limit, limit), float8_rounding(dtype))


@converter("DequantizeLinear", *_VERSIONS)
@converter("DequantizeLinear", 0, 1, domain="com.microsoft")
def dequantize(node: Node) -> TorchOperator:
    """DequantizeLinear, per tensor, per axis or in blocks."""
    result = Dequantize(node.get("axis", 1), node.get("block_size", 0))
    if node.element_type(0) in _FLOAT8 or node.element_type(0) == _T.FLOAT4E2M1:
        return Apply(lambda x, scale, _zero=None: result(x, scale))  # the zero point of a float is zero
    return result
