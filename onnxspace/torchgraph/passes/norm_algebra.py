"""The algebra of normalisation and softmax: terms that express a tensor by one other tensor x.

Each operator has a rule that gives the term of its output from the terms of its inputs, or None. So a formula is recognised
by its meaning, in whatever order an exporter wrote it: variance as the mean of squares around the mean or as the
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
class ConstantTerm:
    """A constant: the node that holds it, and its value."""

    node: Node
    value: Tensor

    def equals(self, number: float) -> bool:
        """Whether the constant is this one number."""
        return self.value.numel() == 1 and math.isclose(float(self.value), number, rel_tol=1e-6)


@dataclass(frozen=True)
class SpreadTerm:
    """`scale · (mean of the squares over axes, of x around its mean or around zero, + eps) ^ power`."""

    axes: Axes
    centred: bool
    eps: float = 0.0
    power: float = 1.0
    scale: Node | None = None


@dataclass(frozen=True)
class LinearTerm:
    """`(x_times · x + mean_times · mean of x over axes) · inverse + bias`, where `inverse` is a spread of power −½."""

    x_times: int = 1
    mean_times: int = 0
    axes: Axes | None = None
    inverse: SpreadTerm | None = None
    bias: Node | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the term has neither an inverse nor a bias."""
        return self.inverse is None and self.bias is None


@dataclass(frozen=True)
class SquareTerm:
    """The square of a linear term."""

    of: LinearTerm


@dataclass(frozen=True)
class MaximumTerm:
    """The maximum of x over axes."""

    axes: Axes


@dataclass(frozen=True)
class ExponentialTerm:
    """x minus its maximum over `lowered`; its exponential if `raised`; the sum over `summed`; the reciprocal if `inverted`."""

    lowered: Axes | None = None
    raised: bool = False
    summed: Axes | None = None
    inverted: bool = False


@dataclass(frozen=True)
class SoftmaxTerm:
    """Softmax of x over axes."""

    axes: Axes


Term = ConstantTerm | SpreadTerm | LinearTerm | SquareTerm | MaximumTerm | ExponentialTerm | SoftmaxTerm
X = LinearTerm()
_RAISED = ExponentialTerm(raised=True)


def add(a: Term, b: Term) -> Term | None:
    """The term of `a + b`, None where there is none."""
    match a, b:
        case LinearTerm(), LinearTerm():
            return _sum(a, b)
        case LinearTerm(inverse=SpreadTerm(), bias=None), ConstantTerm():
            return replace(a, bias=b.node)
        case SpreadTerm(eps=0.0, power=1.0, scale=None), ConstantTerm() if b.value.numel() == 1 and float(b.value) >= 0:
            return replace(a, eps=float(b.value))
        case ConstantTerm(), LinearTerm() | SpreadTerm():
            return add(b, a)
    return None


def subtract(a: Term, b: Term) -> Term | None:
    """The term of `a − b`, None where there is none."""
    match a, b:
        case LinearTerm(), LinearTerm(bias=None):
            return _sum(a, _negate(b))
        case ConstantTerm(), LinearTerm(inverse=SpreadTerm(), bias=None):
            return replace(_negate(b), bias=a.node)
        case SpreadTerm(centred=False, eps=0.0, power=1.0), SquareTerm(LinearTerm(x_times=0, axes=axes)) if axes == a.axes:
            return replace(a, centred=True)
        case LinearTerm(), MaximumTerm() if a == X:
            return ExponentialTerm(lowered=b.axes)
    return None


def _negate(line: LinearTerm) -> LinearTerm:
    return replace(line, x_times=-line.x_times, mean_times=-line.mean_times)


def _sum(a: LinearTerm, b: LinearTerm) -> LinearTerm | None:
    """The sum of two linear terms with the same inverse and axes."""
    if a.inverse != b.inverse or None not in (a.bias, b.bias) or (a.axes != b.axes and None not in (a.axes, b.axes)):
        return None
    return LinearTerm(a.x_times + b.x_times, a.mean_times + b.mean_times, a.axes or b.axes, a.inverse, a.bias or b.bias)


def multiply(a: Term, b: Term) -> Term | None:
    """The term of `a · b`, None where there is none."""
    match a, b:
        case LinearTerm(), LinearTerm() if a == b and a.is_plain:
            return SquareTerm(a)
        case LinearTerm(), SpreadTerm(power=-0.5) if a.is_plain:
            return replace(a, inverse=b)
        case SpreadTerm(power=-0.5, scale=None), ConstantTerm() if _is_along(b.value, a.axes):
            return replace(a, scale=b.node)
        case LinearTerm(inverse=SpreadTerm(scale=None) as inverse, bias=None), ConstantTerm() if _is_along(
            b.value, inverse.axes
        ):
            return replace(a, inverse=replace(inverse, scale=b.node))
        case ExponentialTerm(raised=True, summed=None), ExponentialTerm(inverted=True):
            return divide(a, replace(b, inverted=False))
        case (
            (ConstantTerm() | SpreadTerm(), LinearTerm())
            | (ConstantTerm(), SpreadTerm())
            | (ExponentialTerm(inverted=True), ExponentialTerm(inverted=False))
        ):
            return multiply(b, a)
    return None


def divide(a: Term, b: Term) -> Term | None:
    """The term of `a / b`, None where there is none."""
    match a, b:
        case LinearTerm(), SpreadTerm(scale=None):
            return multiply(a, replace(b, power=-b.power))
        case ConstantTerm(), (SpreadTerm() | ExponentialTerm()) if a.equals(1):
            return reciprocal(b)
        case ExponentialTerm(raised=True, summed=None), ExponentialTerm(summed=tuple() as axes, inverted=False) if (
            a.lowered == b.lowered and a.lowered in (None, axes)
        ):
            return SoftmaxTerm(axes)
    return None


def power(a: Term, b: Term) -> Term | None:
    """The term of `a ** b`, None where there is none."""
    match a, b:
        case LinearTerm(), ConstantTerm() if a.is_plain and b.equals(2):
            return SquareTerm(a)
        case SpreadTerm(scale=None), ConstantTerm() if b.value.numel() == 1:
            return replace(a, power=a.power * float(b.value))
    return None


def reciprocal(a: Term) -> Term | None:
    """The term of `1 / a`, None where there is none."""
    match a:
        case SpreadTerm(scale=None):
            return replace(a, power=-a.power)
        case ExponentialTerm(summed=tuple(), inverted=False):
            return replace(a, inverted=True)
    return None


def root(a: Term) -> Term | None:
    """The term of `√a`, None where there is none."""
    return replace(a, power=a.power / 2) if isinstance(a, SpreadTerm) and a.scale is None else None


def negative(a: Term) -> Term | None:
    """The term of `−a`, None where there is none."""
    return _negate(a) if isinstance(a, LinearTerm) and a.bias is None else None


def exponential(a: Term) -> Term | None:
    """The term of `exp(a)`, None where there is none."""
    match a:
        case LinearTerm() if a == X:
            return _RAISED
        case ExponentialTerm(raised=False):
            return replace(a, raised=True)
    return None


def bound_below(a: Term, b: Term) -> Term | None:
    """The maximum of a variance and zero, which guards it against rounding."""
    match a, b:
        case SpreadTerm(eps=0.0, power=1.0), ConstantTerm() if b.equals(0):
            return a
        case ConstantTerm(), SpreadTerm():
            return bound_below(b, a)
    return None


def rectify(a: Term) -> Term | None:
    """The term of `relu(a)`: a variance is not negative. None for any other term."""
    return a if isinstance(a, SpreadTerm) and (a.eps, a.power) == (0.0, 1.0) else None


def mean(a: Term, axes: Axes) -> Term | None:
    """The term of the mean over `axes`, None where there is none."""
    match a:
        case LinearTerm() if a == X:
            return LinearTerm(0, 1, axes)
        case SquareTerm(LinearTerm(1 | -1, 0)):
            return SpreadTerm(axes, centred=False)
        case SquareTerm(LinearTerm(1, -1, around) | LinearTerm(-1, 1, around)) if around == axes:
            return SpreadTerm(axes, centred=True)
    return None


def maximum(a: Term, axes: Axes) -> Term | None:
    """The term of the maximum over `axes`, None where there is none."""
    return MaximumTerm(axes) if a == X else None


def total(a: Term, axes: Axes) -> Term | None:
    """The term of the sum over `axes`, None where there is none."""
    return replace(a, summed=axes) if isinstance(a, ExponentialTerm) and a.raised and a.summed is None else None


def _is_along(value: Tensor, axes: Axes) -> bool:
    """Whether a constant varies along `axes` alone; where they count from the front, for some rank of x."""
    varies = [place - value.dim() for place, size in enumerate(value.shape) if size != 1]
    if not varies or all(axis < 0 for axis in axes):
        return bool(varies) and all(place in axes for place in varies)
    return min(axes) >= 0 and any(all(rank + place in axes for place in varies) for rank in range(value.dim(), 9))


#: Rules by ONNX operator: of one tensor, of two tensors, and reductions.
UNARY: dict[str, Callable[[Term], Term | None]] = {
    "Sqrt": root, "Reciprocal": reciprocal, "Neg": negative, "Exp": exponential, "Relu": rectify,
}  # fmt: skip
BINARY: dict[str, Callable[[Term, Term], Term | None]] = {
    "Add": add, "Sub": subtract, "Mul": multiply, "Div": divide, "Pow": power, "Max": bound_below,
}  # fmt: skip
REDUCTIONS: dict[str, Callable[[Term, Axes], Term | None]] = {"ReduceMean": mean, "ReduceMax": maximum, "ReduceSum": total}
