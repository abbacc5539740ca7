"""The ratio rule of element-wise nonlinearities: `f(z)/(z + ε·sgn z)` stands for the derivative.

Ancona, Ceolini, Öztireli, Gross: "Towards better understanding of gradient-based attribution methods for deep neural
networks", ICLR 2018, Table 1. In terms of relevance, with ε → 0, an activation hands on what it gets (Bach et al. 2015).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onnxspace.lrp.carry import away_from_zero, carry


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
        """`g·out/(out + ε)` as `g − g/(out/ε + 1)`: two passes over memory, and exactly 0 where out is."""
        (out,) = ctx.saved_tensors
        one = out.new_ones(())
        above = torch.add(one, out, alpha=1 / ctx.epsilon)
        return torch.addcdiv(gradients[0], gradients[0], above, value=-1), None


class _Capped(torch.autograd.Function):
    """ReLU with an upper bound, whose ratio is `out/(z⁺ + ε)`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float, high: float) -> Tensor:
        out = z.clamp(0, high)
        ctx.epsilon = epsilon
        ctx.save_for_backward(z, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        z, out = ctx.saved_tensors
        factor = z.clamp(min=0).add_(ctx.epsilon)
        torch.div(out, factor, out=factor)
        return factor.mul_(gradients[0]), None, None


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
            factor = away_from_zero(z, self.epsilon)
            torch.div(risen, factor, out=factor)
        return carry(out, (z, factor))
