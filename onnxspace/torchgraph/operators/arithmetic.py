"""Arithmetic, comparison, logical and bitwise operators, for all types: Torch lacks most of them for unsigned integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

UNSIGNED = {torch.uint16, torch.uint32, torch.uint64}
_SIGN = -(2**63)
_LARGEST = 2**63 - 1
_Binary = Callable[[Tensor, Tensor], Tensor]


def widen(x: Tensor) -> Tensor:
    """Convert unsigned integers to int64, in which Torch computes; uint64 keeps its bits. Other types stay unchanged."""
    if x.dtype == torch.uint64:
        return x.view(torch.int64)
    return x.to(torch.int64) if x.dtype in UNSIGNED else x


def to_ordered(x: Tensor) -> Tensor:
    """Convert unsigned integers to int64 with the same order; other types are returned unchanged."""
    return widen(x) ^ _SIGN if x.dtype == torch.uint64 else widen(x)


def narrow(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `widen` for `dtype`: higher bits are dropped."""
    return x.view(dtype) if dtype == torch.uint64 else x.to(dtype)


def from_ordered(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `to_ordered` for `dtype`."""
    return narrow(x ^ _SIGN if dtype == torch.uint64 else x, dtype)


def _wrap(function: _Binary) -> _Binary:
    """Extend to unsigned integers a function whose lowest bits depend on the lowest bits of its arguments alone."""
    return lambda a, b: narrow(function(widen(a), widen(b)), a.dtype)


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """`a / b` of int64 tensors, truncated to an integer; zero where `b` is."""
    safe = torch.where((b == 0) | (b == -1), 1, b)  # the smallest integer over −1 traps on some processors
    result = torch.div(a, safe, rounding_mode="trunc")
    return torch.where(b == 0, 0, torch.where(b == -1, -a, result))


def _unsigned_quotient(a: Tensor, b: Tensor) -> Tensor:
    """The same for int64 tensors that hold the bits of uint64: half of `a`, which fits int64, is divided first."""
    small = torch.where(b > 0, b, 1)
    half = torch.div((a >> 1) & _LARGEST, small, rounding_mode="trunc") << 1
    over = (a - half * small) ^ _SIGN >= b ^ _SIGN
    return torch.where(b > 0, half + over, torch.where(b < 0, a ^ _SIGN >= b ^ _SIGN, 0).to(torch.int64))


def divide_integers(a: Tensor, b: Tensor) -> Tensor:
    """Quotient of integer tensors of one type, truncated towards zero; zero where `b` is zero."""
    if a.dtype == torch.uint64:
        return narrow(_unsigned_quotient(widen(a), widen(b)), a.dtype)
    return _quotient(a.to(torch.int64), b.to(torch.int64)).to(a.dtype)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return divide_integers(a, b)


def _remainder(a: Tensor, b: Tensor, truncated: bool) -> Tensor:
    """Remainder with the sign of `a` (if `truncated`) or of `b`; for integers, zero where `b` is."""
    if a.is_floating_point():
        return torch.fmod(a, b) if truncated else torch.remainder(a, b)
    x, y = (widen(a), widen(b)) if a.dtype == torch.uint64 else (a.to(torch.int64), b.to(torch.int64))
    rest = x - widen(divide_integers(a, b)).to(torch.int64) * y
    if not truncated and a.dtype != torch.uint64:
        rest = torch.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)
    return narrow(torch.where(y == 0, 0, rest), a.dtype)


def _power(a: Tensor, b: Tensor) -> Tensor:
    """`a ** b` in the type of `a`; negative powers of integers are truncated towards zero."""
    if a.is_floating_point():
        return torch.pow(a, widen(b))
    if b.is_floating_point():
        return narrow(torch.pow(widen(a).double(), b.double()).to(torch.int64), a.dtype)
    base, exponent = widen(a).to(torch.int64), widen(b).to(torch.int64)
    result = torch.pow(base, exponent.clamp(min=0))
    unit = torch.where(base.abs() == 1, torch.pow(base, exponent & 1), 0)
    return narrow(torch.where(exponent < 0, unit, result), a.dtype)


_ARITHMETIC: dict[str, _Binary] = {
    "Add": _wrap(torch.add),
    "Sub": _wrap(torch.sub),
    "Mul": _wrap(torch.mul),
    "Div": _divide,
    "Pow": _power,
    "Greater": lambda a, b: to_ordered(a) > to_ordered(b),
    "GreaterOrEqual": lambda a, b: to_ordered(a) >= to_ordered(b),
    "Less": lambda a, b: to_ordered(a) < to_ordered(b),
    "LessOrEqual": lambda a, b: to_ordered(a) <= to_ordered(b),
    "Equal": lambda a, b: widen(a) == widen(b),
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "BitwiseAnd": _wrap(torch.bitwise_and),
    "BitwiseOr": _wrap(torch.bitwise_or),
    "BitwiseXor": _wrap(torch.bitwise_xor),
}


class BinaryFunction(nn.Module):
    """A function of two tensors. With `axis`, the axes of the second are aligned with those of the first from there on."""

    def __init__(self, function: _Binary, axis: int | None = None) -> None:
        super().__init__()
        self.function, self.axis = function, axis

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if self.axis is not None:
            start = self.axis % max(a.dim(), 1)
            b = b.reshape(*b.shape, *[1] * max(a.dim() - start - b.dim(), 0))
        return self.function(a, b)


@converter("Add", 1, 6, 7, 13, 14)
@converter("Sub", 1, 6, 7, 13, 14)
@converter("Mul", 1, 6, 7, 13, 14)
@converter("Div", 1, 6, 7, 13, 14)
@converter("Pow", 1, 7, 12, 13, 15)
@converter("Greater", 1, 7, 9, 13)
@converter("Less", 1, 7, 9, 13)
@converter("GreaterOrEqual", 12, 16)
@converter("LessOrEqual", 12, 16)
@converter("Equal", 1, 7, 11, 13, 19)
@converter("And", 1, 7)
@converter("Or", 1, 7)
@converter("Xor", 1, 7)
@converter("BitwiseAnd", 18)
@converter("BitwiseOr", 18)
@converter("BitwiseXor", 18)
def binary(node: Node) -> TorchOperator:
    """Arithmetic, comparison, logical and bitwise operators; the oldest versions broadcast only if an attribute is set."""
    return BinaryFunction(_ARITHMETIC[node.operator], node.get("axis") if node.get("broadcast", 0) else None)


@converter("Mod", 10, 13, 28)
def mod(node: Node) -> TorchOperator:
    """Remainder with the sign of the second tensor, or of the first with `fmod`."""
    truncated = bool(node.get("fmod", 0))
    return BinaryFunction(lambda a, b: _remainder(a, b, truncated))


def _maximum(a: Tensor, b: Tensor) -> Tensor:
    return from_ordered(torch.maximum(to_ordered(a), to_ordered(b)), a.dtype)


def _minimum(a: Tensor, b: Tensor) -> Tensor:
    return from_ordered(torch.minimum(to_ordered(a), to_ordered(b)), a.dtype)


@converter("Max", 1, 6, 8, 12, 13)
@converter("Min", 1, 6, 8, 12, 13)
def extreme(node: Node) -> TorchOperator:
    """Element-wise maximum or minimum of any number of tensors."""
    function = _maximum if node.operator == "Max" else _minimum
    return Apply(lambda *values: reduce(function, values))


@converter("Sum", 1)
@converter("Mean", 1)
def total(node: Node) -> TorchOperator:
    """Element-wise sum or mean of any number of tensors of one shape."""
    if node.operator == "Sum":
        return Apply(lambda *values: reduce(torch.add, values))
    return Apply(lambda *values: reduce(torch.add, values) / len(values))


class Shift(nn.Module):
    """Bitwise shift by the numbers in the second tensor; a shift by more bits than the type has leaves only the sign."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.left = left

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        size, signed = 8 * x.dtype.itemsize, x.dtype.is_signed
        value, count = widen(x).to(torch.int64), widen(y).to(torch.int64)
        outside = (count < 0) | (count >= size)
        count = torch.where(outside, 0, count)
        if self.left:
            return narrow(torch.where(outside, 0, value << count), x.dtype)
        moved = value >> count
        if x.dtype == torch.uint64:  # int64 copies the sign bit, which is a value bit here
            moved = torch.where(count > 0, moved & (_LARGEST >> (count - 1).clamp(min=0)), moved)
        rest = torch.where(value < 0, -1, 0) if signed else torch.zeros_like(value)
        return narrow(torch.where(outside, rest, moved), x.dtype)


@converter("BitShift", 11, 28)
def bit_shift(node: Node) -> TorchOperator:
    """Shift to the left or to the right."""
    return Shift(node.get("direction") == "LEFT")
