"""The ratio rule of element-wise nonlinearities: `f(z)/(z + ε·sgn z)` stands for the derivative.

Ancona, Ceolini, Öztireli, Gross: "Towards better understanding of gradient-based attribution methods for deep neural
networks", ICLR 2018, Table 1. In terms of relevance, with ε → 0, an activation hands on what it gets (Bach et al. 2015).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from onnxspace.lrp.carry import away_from_zero, carry, elementwise


class _Rectified(torch.autograd.Function):
    """ReLU, whose ratio is `out/(out + ε)`: its output alone is kept."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float) -> Tensor:
        out = torch.relu(z)
        ctx.epsilon = epsilon
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return elementwise(partial(_share, ctx.epsilon), gradients[0], out), None


def _share(epsilon: float, gradient: Tensor, out: Tensor) -> Tensor:
    """`g·out/(out + ε)`."""
    shifted = out + epsilon
    return torch.div(out, shifted, out=shifted).mul_(gradient)


class _Capped(torch.autograd.Function):
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
        return elementwise(partial(_share_below, ctx.epsilon, ctx.high), gradients[0], z), None, None


def _share_below(epsilon: float, high: float, gradient: Tensor, z: Tensor) -> Tensor:
    """`g·out/(z⁺ + ε)`."""
    above = z.clamp(min=0)
    out = above.clamp(max=high)
    return out.div_(above.add_(epsilon)).mul_(gradient)


class RectifiedRatio(nn.Module):
    """ReLU, with an upper bound where `high` is given, with the ratio rule at about the cost of its derivative."""

    def __init__(self, epsilon: float, high: float | None = None) -> None:
        super().__init__()
        self.epsilon, self.high = epsilon, high

    def forward(self, z: Tensor, *_bounds: Tensor | None) -> Tensor:
        if self.high is None:
            return _Rectified.apply(z, self.epsilon)  # type: ignore[no-any-return]
        return _Capped.apply(z, self.epsilon, self.high)  # type: ignore[no-any-return]


class Ratio(nn.Module):
    """A nonlinearity of one tensor whose derivative is replaced by its ratio.

    With `offset` it is `(f(z) − f(0))/(z + ε·sgn z)`, which stays finite at zero where `f(0) ≠ 0` (Sigmoid, Softplus), but
    gives no relevance to the constant `f(0)`.
    """

    def __init__(self, function: nn.Module, epsilon: float, offset: bool = False) -> None:
        super().__init__()
        self.function, self.epsilon, self.offset = function, epsilon, offset

    def forward(self, z: Tensor, *constants: Tensor | None, **named: Tensor | None) -> Tensor:
        """`constants` and `named` are parameters of the function, such as the bounds of Clip."""
        with torch.no_grad():
            out: Tensor = self.function(z, *constants, **named)
            if not z.requires_grad:
                return out
            risen = out - self.function(torch.zeros_like(z), *constants, **named) if self.offset else out
            factor = elementwise(partial(_quotient, self.epsilon), z, risen)
        return carry(out, (z, factor))


def _quotient(epsilon: float, z: Tensor, risen: Tensor) -> Tensor:
    shifted = away_from_zero(z, epsilon)
    return torch.div(risen, shifted, out=shifted)
