"""The ratio rule of element-wise nonlinearities: `f(z)/(z + ε·sgn z)` in place of the derivative.

Ancona, Ceolini, Öztireli, Gross: "Towards better understanding of gradient-based attribution methods for deep neural
networks", ICLR 2018, Table 1. In terms of relevance, with ε → 0, an activation passes relevance on unchanged (Bach et al. 2015).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from onnxspace.attribution.lrp.autograd import apply_elementwise, redirect_gradient, stabilise


class _RectifierFunction(torch.autograd.Function):
    """ReLU, whose ratio is `out/(out + ε)`, so that only its output is saved for the backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float, in_place: bool) -> Tensor:
        out = z.relu_() if in_place else torch.relu(z)
        if in_place:
            ctx.mark_dirty(z)
        ctx.epsilon = epsilon
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors
        return apply_elementwise(partial(_apply_ratio, ctx.epsilon), gradients[0], out), None, None


def _apply_ratio(epsilon: float, gradient: Tensor, value: Tensor, out: Tensor) -> None:
    """`g·v/(v + ε)`, exactly 0 where v is 0."""
    torch.add(value, epsilon, out=out)
    torch.div(value, out, out=out).mul_(gradient)


class _CappedRectifierFunction(torch.autograd.Function):
    """ReLU with an upper bound, whose ratio is `out/(z⁺ + ε)`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float, high: float) -> Tensor:
        out = z.clamp(0, high)
        ctx.epsilon, ctx.high = epsilon, high
        ctx.save_for_backward(z)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return apply_elementwise(partial(_apply_capped_ratio, ctx.epsilon, ctx.high), gradients[0], z), None, None


def _apply_capped_ratio(epsilon: float, high: float, gradient: Tensor, z: Tensor, out: Tensor) -> None:
    """`g·min(z⁺, high)/(z⁺ + ε)`."""
    above = z.clamp(min=0)
    torch.clamp(above, max=high, out=out).div_(above.add_(epsilon)).mul_(gradient)


class _RatioFunction(torch.autograd.Function):
    """`out` forward; backward, the gradient times `value/(z + ε·sgn z)`, which is computed then: no factor is stored.

    `value` is None where it is `out`.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, out: Tensor, value: Tensor | None, epsilon: float) -> Tensor:
        ctx.epsilon = epsilon
        ctx.save_for_backward(z, out if value is None else value)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        z, value = ctx.saved_tensors
        found = apply_elementwise(partial(_apply_stable_ratio, ctx.epsilon), gradients[0], z, value)
        return found, None, None, None


def _compute_stable_ratio(epsilon: float, z: Tensor, value: Tensor, out: Tensor) -> None:
    """`value/(z + ε·sgn z)`."""
    torch.div(value, stabilise(z, epsilon, out), out=out)


def _apply_stable_ratio(epsilon: float, gradient: Tensor, z: Tensor, value: Tensor, out: Tensor) -> None:
    """`g·value/(z + ε·sgn z)`."""
    _compute_stable_ratio(epsilon, z, value, out)
    out.mul_(gradient)


class RectifiedRatio(nn.Module):
    """ReLU with the ratio rule, at about the cost of its derivative.

    `epsilon` is the stabiliser, `high` an upper bound of the output (None: none); `in_place` allows ReLU without a bound to
    overwrite its input.
    """

    def __init__(self, epsilon: float, high: float | None = None, in_place: bool = False) -> None:
        super().__init__()
        self.epsilon, self.high, self.in_place = epsilon, high, in_place

    def forward(self, z: Tensor, *_bounds: Tensor | None) -> Tensor:
        if self.high is None:
            in_place = self.in_place and z.requires_grad and not torch.compiler.is_compiling()  # the compiler saves it itself
            return _RectifierFunction.apply(z, self.epsilon, in_place)  # type: ignore[no-any-return]
        return _CappedRectifierFunction.apply(z, self.epsilon, self.high)  # type: ignore[no-any-return]


class Ratio(nn.Module):
    """A nonlinearity of one tensor, `function`, whose derivative is replaced by the ratio `f(z)/(z + ε·sgn z)`.

    With `offset` the ratio is `(f(z) − f(0))/(z + ε·sgn z)`, which stays finite at zero where `f(0) ≠ 0` (Sigmoid, Softplus), but
    gives no relevance to the constant `f(0)`. The ratio is computed in the backward pass, or, if it is `stored`, once for several
    backward passes.
    """

    def __init__(self, function: nn.Module, epsilon: float, offset: bool = False, stored: bool = False) -> None:
        super().__init__()
        self.function, self.epsilon, self.offset, self.stored = function, epsilon, offset, stored

    def forward(self, z: Tensor, *constants: Tensor | None, **named: Tensor | None) -> Tensor:
        """Compute the function of `z`; `constants` and `named` are its parameters, such as the bounds of Clip."""
        with torch.no_grad():
            out: Tensor = self.function(z, *constants, **named)
            if not z.requires_grad:
                return out
            value = out - self.function(torch.zeros_like(z), *constants, **named) if self.offset else None
        if not self.stored:
            return _RatioFunction.apply(z, out, value, self.epsilon)  # type: ignore[no-any-return]
        with torch.no_grad():
            factor = apply_elementwise(partial(_compute_stable_ratio, self.epsilon), z, out if value is None else value)
        return redirect_gradient(out, (z, factor))
