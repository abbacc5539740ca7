"""Arithmetic on quantised tensors: forward as the ONNX standard specifies, backward with straight-through gradients.

Integers are kept as floating-point values, so that gradients pass from the output to the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from onnxspace.torchgraph.operators.quantised import broadcast_along, quantise_to_type
from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


def _centre(x: Tensor, zero: Tensor | None, axis: int = 1) -> Tensor:
    """Integers as floating point, minus their zero point."""
    value = x if x.is_floating_point() else x.float()
    return value if zero is None else value - broadcast_along(axis, zero, x).to(value.dtype)


def dequantise(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int = 1) -> Tensor:
    """Floating-point values of integers; scale and zero point are one number, or one per element of `axis`."""
    return _centre(x, zero, axis) * broadcast_along(axis, scale, x)


def quantise(value: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """Quantise floating point by an output's scale and zero point."""
    return quantise_to_type(value / scale, zero, 0.0 if zero is None else zero.to(value.dtype))


def _read_sizes(node: Node, name: str, rank: int, default: int) -> list[int]:
    return [int(n) for n in node.get(name) or [default] * rank]


def _window_pads(node: Node, x: Tensor, kernel: list[int]) -> list[int]:
    """Padding before and after every spatial axis, first axis first."""
    mode, rank = node.get("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        pads = _read_sizes(node, "pads", 2 * rank, 0)
        return [side for axis in range(rank) for side in (pads[axis], pads[rank + axis])]
    strides, dilations, found = _read_sizes(node, "strides", rank, 1), _read_sizes(node, "dilations", rank, 1), []
    for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = 0 if mode == "VALID" else max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small, large = total // 2, total - total // 2
        found += [large, small] if mode == "SAME_LOWER" else [small, large]
    return found


def _flat_pads(pads: list[int]) -> list[int]:
    """Pairs of padding in Torch's order: last axis first."""
    return [side for i in range(len(pads) - 2, -1, -2) for side in pads[i : i + 2]]


_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)


def _convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution of values relative to their zero points, which are padded with zeros."""
    rank = x.dim() - 2
    if not 1 <= rank <= 3:
        raise ValueError(f"convolution in {rank} dimensions")
    padded = functional.pad(x, _flat_pads(_window_pads(node, x, list(weight.shape[2:]))))
    strides, dilations = _read_sizes(node, "strides", rank, 1), _read_sizes(node, "dilations", rank, 1)
    return _CONVOLUTIONS[rank - 1](padded, weight, bias, strides, 0, dilations, node.get("group", 1))


@converter("ConvInteger", 10)
def conv_integer(node: Node) -> TorchOperator:
    """ConvInteger."""

    def convolve(x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None) -> Tensor:
        return _convolve(node, _centre(x, x_zero), _centre(w, w_zero, 0))

    return Apply(convolve)


@converter("QLinearConv", 10)
@converter("QLinearConv", *_RUNTIME, domain=_MICROSOFT)
def qlinear_conv(node: Node) -> TorchOperator:
    """QLinearConv; its bias is in units of the product of both input scales. ONNX Runtime's may have channels last."""

    def convolve(
        x: Tensor, xs: Tensor, xz: Tensor, w: Tensor, ws: Tensor, wz: Tensor, ys: Tensor, yz: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        def compute(x: Tensor) -> Tensor:
            total = _convolve(node, _centre(x, xz), _centre(w, wz, 0), None if bias is None else bias.float())
            return quantise(total * broadcast_along(1, ws * xs, total), ys, yz)

        return _with_channels_first(node, compute)(x)

    return Apply(convolve)


def _to_column(values: Tensor | None, x: Tensor) -> Tensor | None:
    """A vector with one value per row as a column; anything else is returned as it is."""
    return values[:, None] if values is not None and values.dim() == 1 and values.numel() > 1 else values


def _centre_matrix(x: Tensor, zero: Tensor | None) -> Tensor:
    value = x if x.is_floating_point() else x.float()
    return value if zero is None else value - zero.to(value.dtype)


@converter("MatMulInteger", 10)
def matmul_integer(_node: Node) -> TorchOperator:
    """MatMulInteger, with zero points per tensor, per row of the first or per column of the second."""

    def multiply(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
        return torch.matmul(_centre_matrix(a, _to_column(a_zero, a)), _centre_matrix(b, b_zero))

    return Apply(multiply)


@converter("QLinearMatMul", 10, 21)
def qlinear_matmul(_node: Node) -> TorchOperator:
    """QLinearMatMul, with scales per tensor, per row of the first or per column of the second."""

    def multiply(
        a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor, scale: Tensor, zero: Tensor
    ) -> Tensor:
        first, rows = _centre_matrix(a, _to_column(a_zero, a)), _to_column(a_scale, a)
        total = torch.matmul(first, _centre_matrix(b, b_zero))
        return quantise(total * (a_scale if rows is None else rows) * b_scale, scale, zero)

    return Apply(multiply)


class DynamicQuantize(nn.Module):
    """Quantisation to the range of the tensor itself, which has no gradient, and within which nothing saturates."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fixed = x.detach()
        low, high = fixed.amin().clamp(max=0), fixed.amax().clamp(min=0)
        scale = torch.where(high == low, torch.ones_like(high), (high - low) / 255)
        zero = torch.round(torch.clamp(-low / scale, 0, 255))
        exact = x / scale
        rounded = torch.clamp(torch.round(exact) + zero, 0, 255)
        return rounded.detach() + (exact - exact.detach()), scale, zero.to(torch.uint8)


class OnlyValues(nn.Module):
    """Returns the first output only."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)[0]


@converter("DynamicQuantizeLinear", 11)
def dynamic_quantize(node: Node) -> TorchOperator:
    """DynamicQuantizeLinear."""
    return DynamicQuantize() if node.outputs > 1 else OnlyValues(DynamicQuantize())


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


def _with_channels_first(node: Node, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Apply a function that needs channels on the second axis to tensors that may have channels last."""
    if not node.get("channels_last", 0):
        return function
    return lambda x: function(x.movedim(-1, 1)).movedim(1, -1)


@converter("QLinearGlobalAveragePool", *_RUNTIME, domain=_MICROSOFT)
def qlinear_global_average_pool(node: Node) -> TorchOperator:
    """QLinearGlobalAveragePool."""
    return make_unary(_with_channels_first(node, lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True)))


_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


@converter("QLinearAveragePool", *_RUNTIME, domain=_MICROSOFT)
def qlinear_average_pool(node: Node) -> TorchOperator:
    """QLinearAveragePool, with padding counted or not."""
    kernel = [int(n) for n in node.get("kernel_shape")]
    if node.get("ceil_mode", 0) or len(kernel) > len(_POOLS):
        raise NotImplementedError("ceil_mode" if node.get("ceil_mode", 0) else f"windows in {len(kernel)} dimensions")
    strides, counted = _read_sizes(node, "strides", len(kernel), 1), bool(node.get("count_include_pad", 0))

    def pool(x: Tensor) -> Tensor:
        pads = _flat_pads(_window_pads(node, x, kernel))
        total = _POOLS[len(kernel) - 1](functional.pad(x, pads), kernel, strides)
        if counted or not any(pads):
            return total
        inside = functional.pad(torch.ones_like(x), pads)
        return total / _POOLS[len(kernel) - 1](inside, kernel, strides)

    return make_unary(_with_channels_first(node, pool))


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
        left, right = _centre(a, a_zero), _centre(b, b_zero, columns)
        total = torch.matmul(left.T if first else left, right.T if second else right)
        total = total * alpha if bias is None else total * alpha + bias.to(total.dtype)
        value = total * a_scale.reshape(()) * broadcast_along(1, b_scale, total)
        return value if scale is None else quantise(value, scale, zero)

    return Apply(multiply)
