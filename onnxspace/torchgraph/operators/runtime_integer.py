"""Products of 8-bit integers whose result is a floating-point number, as ONNX Runtime has them; see its ContribOperators.md.

In `DynamicQuantizeMatMul` the first factor is quantised to its own range.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.integer import DynamicQuantize
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


def centre_columns(weight: Tensor, zero: Tensor | None) -> Tensor:
    """An integer matrix as floating point, minus its zero point, which is one number or one per column."""
    value = weight.float()
    return value if zero is None else value - zero.to(value.dtype)


class IntegerProduct(nn.Module):
    """`(A − zero) · (B − zero)` in units of both scales, plus a bias; a scale is one number or one per column of B."""

    def forward(
        self, a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, a_zero: Tensor | None = None,
        b_zero: Tensor | None = None, bias: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        left = a if a.is_floating_point() else a.float()
        left = left if a_zero is None else left - a_zero.to(left.dtype)
        total = torch.matmul(left, centre_columns(b, b_zero)) * (a_scale * b_scale)
        return total if bias is None else total + bias


@converter("MatMulIntegerToFloat", *_RUNTIME, domain=_MICROSOFT)
def matmul_integer_to_float(_node: Node) -> TorchOperator:
    """MatMulIntegerToFloat."""
    return IntegerProduct()


class DynamicProduct(nn.Module):
    """A product whose first factor is quantised to its own range; its gradient is straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.quantise, self.product = DynamicQuantize(), IntegerProduct()

    def forward(
        self, a: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        values, scale, zero = self.quantise(a)
        result: Tensor = self.product(values, b, scale, b_scale, zero, b_zero, bias)
        return result


@converter("DynamicQuantizeMatMul", *_RUNTIME, domain=_MICROSOFT)
def dynamic_quantize_matmul(_node: Node) -> TorchOperator:
    """DynamicQuantizeMatMul."""
    return DynamicProduct()
