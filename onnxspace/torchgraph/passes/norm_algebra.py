"""What a tensor is in terms of one other tensor x: the little algebra in which normalisation and softmax are written.

Each operator has a rule that says what its output is when its inputs are known terms, or None. So a formula is recognised
by what it means, in whatever order an exporter wrote it: variance as the mean of squares around the mean or as the
difference of two means, division or multiplication by a reciprocal, scale and bias before or after the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor
from torch.fx import Node

Axes = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant."""

    node: Node
    value: Tensor

    def equals(self, number: float) -> bool:
        return self.value.numel() == 1 and math.isclose(float(self.value), number, rel_tol=1e-6)


@dataclass(frozen=True)
class Spread:
    """`scale · (mean of the squares over axes, of x around its mean or around zero, + eps) ^ power`."""

    axes: Axes
    centred: bool
    eps: float = 0.0
    power: float = 1.0
    scale: Node | None = None


@dataclass(frozen=True)
class Line:
    """`(x_times · x + mean_times · mean of x over axes) · inverse + bias`, where inverse is a spread of power −½."""

    x_times: int = 1
    mean_times: int = 0
    axes: Axes | None = None
    inverse: Spread | None = None
    bias: Node | None = None

    @property
    def is_plain(self) -> bool:
        return self.inverse is None and self.bias is None


@dataclass(frozen=True)
class Square:
    """The square of a line."""

    of: Line


@dataclass(frozen=True)
class Highest:
    """The largest x over axes."""

    axes: Axes


@dataclass(frozen=True)
class Exponent:
    """x, less its largest value over `lowered`; its exponential where `raised`; the sum over `summed` of that."""

    lowered: Axes | None = None
    raised: bool = False
    summed: Axes | None = None
    inverted: bool = False


@dataclass(frozen=True)
class Share:
    """Softmax of x over axes."""

    axes: Axes


Term = Stored | Spread | Line | Square | Highest | Exponent | Share
X = Line()
_RAISED = Exponent(raised=True)


def add(a: Term, b: Term) -> Term | None:
    match a, b:
        case Line(), Line():
            return _sum(a, b)
        case Line(inverse=Spread(), bias=None), Stored():
            return replace(a, bias=b.node)
        case Spread(eps=0.0, power=1.0, scale=None), Stored() if b.value.numel() == 1 and float(b.value) >= 0:
            return replace(a, eps=float(b.value))
        case Stored(), Line() | Spread():
            return add(b, a)
    return None


def subtract(a: Term, b: Term) -> Term | None:
    match a, b:
        case Line(), Line(bias=None):
            return _sum(a, _negated(b))
        case Stored(), Line(inverse=Spread(), bias=None):
            return replace(_negated(b), bias=a.node)
        case Spread(centred=False, eps=0.0, power=1.0), Square(Line(x_times=0, axes=axes)) if axes == a.axes:
            return replace(a, centred=True)
        case Line(), Highest() if a == X:
            return Exponent(lowered=b.axes)
    return None


def _negated(line: Line) -> Line:
    return replace(line, x_times=-line.x_times, mean_times=-line.mean_times)


def _sum(a: Line, b: Line) -> Line | None:
    """The sum of two lines over the same inverse and axes."""
    if a.inverse != b.inverse or None not in (a.bias, b.bias) or (a.axes != b.axes and None not in (a.axes, b.axes)):
        return None
    return Line(a.x_times + b.x_times, a.mean_times + b.mean_times, a.axes or b.axes, a.inverse, a.bias or b.bias)


def multiply(a: Term, b: Term) -> Term | None:
    match a, b:
        case Line(), Line() if a == b and a.is_plain:
            return Square(a)
        case Line(), Spread(power=-0.5) if a.is_plain:
            return replace(a, inverse=b)
        case Spread(power=-0.5, scale=None), Stored() if _is_along(b.value, a.axes):
            return replace(a, scale=b.node)
        case Line(inverse=Spread(scale=None) as inverse, bias=None), Stored() if _is_along(b.value, inverse.axes):
            return replace(a, inverse=replace(inverse, scale=b.node))
        case Exponent(raised=True, summed=None), Exponent(inverted=True):
            return divide(a, replace(b, inverted=False))
        case (Stored() | Spread(), Line()) | (Stored(), Spread()) | (Exponent(inverted=True), Exponent(inverted=False)):
            return multiply(b, a)
    return None


def divide(a: Term, b: Term) -> Term | None:
    match a, b:
        case Line(), Spread(scale=None):
            return multiply(a, replace(b, power=-b.power))
        case Stored(), (Spread() | Exponent()) if a.equals(1):
            return reciprocal(b)
        case Exponent(raised=True, summed=None), Exponent(summed=tuple() as axes, inverted=False) if (
            a.lowered == b.lowered and a.lowered in (None, axes)
        ):
            return Share(axes)
    return None


def power(a: Term, b: Term) -> Term | None:
    match a, b:
        case Line(), Stored() if a.is_plain and b.equals(2):
            return Square(a)
        case Spread(scale=None), Stored() if b.value.numel() == 1:
            return replace(a, power=a.power * float(b.value))
    return None


def reciprocal(a: Term) -> Term | None:
    match a:
        case Spread(scale=None):
            return replace(a, power=-a.power)
        case Exponent(summed=tuple(), inverted=False):
            return replace(a, inverted=True)
    return None


def root(a: Term) -> Term | None:
    return replace(a, power=a.power / 2) if isinstance(a, Spread) and a.scale is None else None


def negative(a: Term) -> Term | None:
    return _negated(a) if isinstance(a, Line) and a.bias is None else None


def exponential(a: Term) -> Term | None:
    match a:
        case Line() if a == X:
            return _RAISED
        case Exponent(raised=False):
            return replace(a, raised=True)
    return None


def at_least(a: Term, b: Term) -> Term | None:
    """A variance kept from falling below zero by rounding."""
    match a, b:
        case Spread(eps=0.0, power=1.0), Stored() if b.equals(0):
            return a
        case Stored(), Spread():
            return at_least(b, a)
    return None


def rectified(a: Term) -> Term | None:
    return a if isinstance(a, Spread) and (a.eps, a.power) == (0.0, 1.0) else None


def mean(a: Term, axes: Axes) -> Term | None:
    match a:
        case Line() if a == X:
            return Line(0, 1, axes)
        case Square(Line(1 | -1, 0)):
            return Spread(axes, centred=False)
        case Square(Line(1, -1, around) | Line(-1, 1, around)) if around == axes:
            return Spread(axes, centred=True)
    return None


def highest(a: Term, axes: Axes) -> Term | None:
    return Highest(axes) if a == X else None


def total(a: Term, axes: Axes) -> Term | None:
    return replace(a, summed=axes) if isinstance(a, Exponent) and a.raised and a.summed is None else None


def _is_along(value: Tensor, axes: Axes) -> bool:
    """Whether a constant varies along `axes` alone, for some rank of x where they are counted from the front."""
    varies = [place - value.dim() for place, size in enumerate(value.shape) if size != 1]
    if not varies or all(axis < 0 for axis in axes):
        return bool(varies) and all(place in axes for place in varies)
    return min(axes) >= 0 and any(all(rank + place in axes for place in varies) for rank in range(value.dim(), 9))


#: Operators of one and of two tensors, and reductions.
UNARY: dict[str, Callable[[Term], Term | None]] = {
    "Sqrt": root, "Reciprocal": reciprocal, "Neg": negative, "Exp": exponential, "Relu": rectified,
}  # fmt: skip
BINARY: dict[str, Callable[[Term, Term], Term | None]] = {
    "Add": add, "Sub": subtract, "Mul": multiply, "Div": divide, "Pow": power, "Max": at_least,
}  # fmt: skip
REDUCTIONS: dict[str, Callable[[Term, Axes], Term | None]] = {"ReduceMean": mean, "ReduceMax": highest, "ReduceSum": total}
