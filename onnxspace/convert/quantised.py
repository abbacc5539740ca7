"""QuantizeLinear and DequantizeLinear with straight-through gradients, so that an int8 artifact can be explained.

Forward they compute what the standard says, in floating point. Backward, rounding counts as the identity and saturation
as the clipping that it is: exporters express ReLU by it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

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


def quantize(node: Any, _graph: Any) -> Any:
    """QuantizeLinear, per tensor or per axis."""
    return _result(node, Quantize(node.attributes.get("axis", 1)))


def dequantize(node: Any, _graph: Any) -> Any:
    """DequantizeLinear, per tensor or per axis."""
    return _result(node, Dequantize(node.attributes.get("axis", 1)))


def _result(node: Any, module: nn.Module) -> Any:
    from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node

    if any(node.attributes.get(name) for name in ("block_size", "output_dtype")):
        raise NotImplementedError("blocked quantisation")
    return OperationConverterResult(torch_module=module, onnx_mapping=onnx_mapping_from_node(node))


#: (operator, version) → converter
CONVERTERS = {
    **{("QuantizeLinear", version): quantize for version in (10, 13, 19, 21, 23, 24, 25)},
    **{("DequantizeLinear", version): dequantize for version in (10, 13, 19, 21, 23, 24, 25)},
}
