"""The QLinear operators of ONNX Runtime: functions of dequantised tensors, whose results are quantised again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from onnxspace.torchgraph.operators.integer import (
    centre,
    dequantise,
    flat_pads,
    quantise,
    read_sizes,
    window_pads,
    with_channels_first,
)
from onnxspace.torchgraph.operators.quantised import broadcast_along
from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows
_PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"QLinearAdd": torch.add, "QLinearMul": torch.mul}


@converter("QLinearAdd", *_RUNTIME, domain=_MICROSOFT)
@converter("QLinearMul", *_RUNTIME, domain=_MICROSOFT)
def qlinear_pair(node: Node) -> TorchOperator:
    """QLinearAdd and QLinearMul."""
    function = _PAIRS[node.operator]

    def combine(
        a: Tensor,
        a_s: Tensor,
        a_z: Tensor | None,
        b: Tensor,
        b_s: Tensor,
        b_z: Tensor | None,
        s: Tensor,
        z: Tensor | None = None,
    ) -> Tensor:
        return quantise(function(dequantise(a, a_s, a_z), dequantise(b, b_s, b_z)), s, z)

    return Apply(combine)


def make_unary(function: Callable[[Tensor], Tensor]) -> TorchOperator:
    """A function of one quantised tensor."""

    def compute(x: Tensor, x_scale: Tensor, x_zero: Tensor | None, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        return quantise(function(dequantise(x, x_scale, x_zero)), scale, zero)

    return Apply(compute)


@converter("QLinearSigmoid", *_RUNTIME, domain=_MICROSOFT)
def qlinear_sigmoid(_node: Node) -> TorchOperator:
    """QLinearSigmoid."""
    return make_unary(torch.sigmoid)


@converter("QLinearLeakyRelu", *_RUNTIME, domain=_MICROSOFT)
def qlinear_leaky_relu(node: Node) -> TorchOperator:
    """QLinearLeakyRelu."""
    slope = node.get("alpha", 0.01)
    return make_unary(lambda x: functional.leaky_relu(x, slope))


@converter("QLinearGlobalAveragePool", *_RUNTIME, domain=_MICROSOFT)
def qlinear_global_average_pool(node: Node) -> TorchOperator:
    """QLinearGlobalAveragePool."""
    return make_unary(with_channels_first(node, lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True)))


_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


@converter("QLinearAveragePool", *_RUNTIME, domain=_MICROSOFT)
def qlinear_average_pool(node: Node) -> TorchOperator:
    """QLinearAveragePool, with padding counted or not."""
    kernel = [int(n) for n in node.get("kernel_shape")]
    if node.get("ceil_mode", 0) or len(kernel) > len(_POOLS):
        raise NotImplementedError("ceil_mode" if node.get("ceil_mode", 0) else f"windows in {len(kernel)} dimensions")
    strides, counted = read_sizes(node, "strides", len(kernel), 1), bool(node.get("count_include_pad", 0))

    def pool(x: Tensor) -> Tensor:
        pads = flat_pads(window_pads(node, x, kernel))
        total = _POOLS[len(kernel) - 1](functional.pad(x, pads), kernel, strides)
        if counted or not any(pads):
            return total
        inside = functional.pad(torch.ones_like(x), pads)
        return total / _POOLS[len(kernel) - 1](inside, kernel, strides)

    return make_unary(with_channels_first(node, pool))


@converter("QLinearConcat", *_RUNTIME, domain=_MICROSOFT)
def qlinear_concat(node: Node) -> TorchOperator:
    """QLinearConcat; its inputs are the output's scale and zero point, then value, scale and zero point of each tensor."""
    axis = node.get("axis")

    def join(scale: Tensor, zero: Tensor, *given: Tensor) -> Tensor:
        parts = [dequantise(given[i], given[i + 1], given[i + 2]) for i in range(0, len(given), 3)]
        return quantise(torch.cat(parts, axis), scale, zero)

    return Apply(join)


@converter("QGemm", *_RUNTIME, domain=_MICROSOFT)
def qgemm(node: Node) -> TorchOperator:
    """QGemm; without an output scale the result is floating point."""
    first, second, alpha = bool(node.get("transA", 0)), bool(node.get("transB", 0)), node.get("alpha", 1.0)

    def multiply(
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor | None,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor | None,
        bias: Tensor | None = None,
        scale: Tensor | None = None,
        zero: Tensor | None = None,
    ) -> Tensor:
        columns = 0 if second else 1
        left, right = centre(a, a_zero), centre(b, b_zero, columns)
        total = torch.matmul(left.T if first else left, right.T if second else right)
        total = total * alpha if bias is None else total * alpha + bias.to(total.dtype)
        value = total * a_scale.reshape(()) * broadcast_along(1, b_scale, total)
        return value if scale is None else quantise(value, scale, zero)

    return Apply(multiply)


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
