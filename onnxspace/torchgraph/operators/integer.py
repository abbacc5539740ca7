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


def centre(x: Tensor, zero: Tensor | None, axis: int = 1) -> Tensor:
    """Integers as floating point, minus their zero point."""
    value = x if x.is_floating_point() else x.float()
    return value if zero is None else value - broadcast_along(axis, zero, x).to(value.dtype)


def dequantise(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int = 1) -> Tensor:
    """Floating-point values of integers; scale and zero point are one number, or one per element of `axis`."""
    return centre(x, zero, axis) * broadcast_along(axis, scale, x)


def quantise(value: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """Quantise floating point by an output's scale and zero point."""
    return quantise_to_type(value / scale, zero, 0.0 if zero is None else zero.to(value.dtype))


def read_sizes(node: Node, name: str, rank: int, default: int) -> list[int]:
    """The attribute `name` with a number per spatial axis, or as many of the default."""
    return [int(n) for n in node.get(name) or [default] * rank]


def window_pads(node: Node, x: Tensor, kernel: list[int]) -> list[int]:
    """Padding before and after every spatial axis, first axis first."""
    mode, rank = node.get("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        pads = read_sizes(node, "pads", 2 * rank, 0)
        return [side for axis in range(rank) for side in (pads[axis], pads[rank + axis])]
    strides, dilations, found = read_sizes(node, "strides", rank, 1), read_sizes(node, "dilations", rank, 1), []
    for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = 0 if mode == "VALID" else max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small, large = total // 2, total - total // 2
        found += [large, small] if mode == "SAME_LOWER" else [small, large]
    return found


def flat_pads(pads: list[int]) -> list[int]:
    """Pairs of padding in Torch's order: last axis first."""
    return [side for i in range(len(pads) - 2, -1, -2) for side in pads[i : i + 2]]


_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)


def _convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution of values relative to their zero points, which are padded with zeros."""
    rank = x.dim() - 2
    if not 1 <= rank <= 3:
        raise ValueError(f"convolution in {rank} dimensions")
    padded = functional.pad(x, flat_pads(window_pads(node, x, list(weight.shape[2:]))))
    strides, dilations = read_sizes(node, "strides", rank, 1), read_sizes(node, "dilations", rank, 1)
    return _CONVOLUTIONS[rank - 1](padded, weight, bias, strides, 0, dilations, node.get("group", 1))


@converter("ConvInteger", 10)
def conv_integer(node: Node) -> TorchOperator:
    """ConvInteger."""

    def convolve(x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None) -> Tensor:
        return _convolve(node, centre(x, x_zero), centre(w, w_zero, 0))

    return Apply(convolve)


@converter("QLinearConv", 10)
@converter("QLinearConv", *_RUNTIME, domain=_MICROSOFT)
def qlinear_conv(node: Node) -> TorchOperator:
    """QLinearConv; its bias is in units of the product of both input scales. ONNX Runtime's may have channels last."""

    def convolve(
        x: Tensor, xs: Tensor, xz: Tensor, w: Tensor, ws: Tensor, wz: Tensor, ys: Tensor, yz: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        def compute(x: Tensor) -> Tensor:
            total = _convolve(node, centre(x, xz), centre(w, wz, 0), None if bias is None else bias.float())
            return quantise(total * broadcast_along(1, ws * xs, total), ys, yz)

        return with_channels_first(node, compute)(x)

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


def with_channels_first(node: Node, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Apply a function that needs channels on the second axis to tensors that may have channels last."""
    if not node.get("channels_last", 0):
        return function
    return lambda x: function(x.movedim(-1, 1)).movedim(1, -1)
