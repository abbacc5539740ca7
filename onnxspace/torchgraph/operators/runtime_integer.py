"""ONNX Runtime's own operators on 8-bit integers beside those that its quantisers share with the standard.

They are described in ContribOperators.md of ONNX Runtime: Softmax, Where and ReduceMean of quantised tensors, and products whose
result is a floating-point number, in which `DynamicQuantizeMatMul` quantises its first factor to that factor's own range.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.integer import DynamicQuantize, dequantise, make_unary, quantise
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


@converter("QLinearSoftmax", *_RUNTIME, domain=_MICROSOFT)
def qlinear_softmax(node: Node) -> TorchOperator:
    """QLinearSoftmax: along one axis from opset 13 on, over all axes from `axis` on before."""
    axis = node.get("axis", -1)
    if node.get("opset", 0) >= 13:
        return make_unary(lambda x: torch.softmax(x, axis))
    return make_unary(lambda x: torch.softmax(x.flatten(axis % x.dim()), -1).reshape(x.shape))


@converter("QLinearReduceMean", *_RUNTIME, domain=_MICROSOFT)
def qlinear_reduce_mean(node: Node) -> TorchOperator:
    """QLinearReduceMean over the listed axes, or over all."""
    axes, kept = node.get("axes"), bool(node.get("keepdims", 1))
    return make_unary(lambda x: x.mean(tuple(axes) if axes else tuple(range(x.dim())), keepdim=kept))


class Choice(nn.Module):
    """The values of one of two quantised tensors."""

    def forward(
        self, condition: Tensor, x: Tensor, x_scale: Tensor, x_zero: Tensor, y: Tensor, y_scale: Tensor, y_zero: Tensor,
        scale: Tensor, zero: Tensor,
    ) -> Tensor:  # fmt: skip
        return quantise(torch.where(condition, dequantise(x, x_scale, x_zero), dequantise(y, y_scale, y_zero)), scale, zero)


@converter("QLinearWhere", *_RUNTIME, domain=_MICROSOFT)
def qlinear_where(_node: Node) -> TorchOperator:
    """QLinearWhere."""
    return Choice()


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
