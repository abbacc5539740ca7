"""ε-LRP as a modified gradient: at every nonlinearity `f(z)/(z + ε·sgn z)` stands for the derivative.

Ancona, Ceolini, Öztireli, Gross: "Towards better understanding of gradient-based attribution methods for deep neural
networks", ICLR 2018, Table 1. Linear operators, normalisation and pooling keep their gradient, so `x · d'S/dx` is ε-LRP.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-4
#: ONNX operators that take the ratio rule: element-wise nonlinearities of one variable, `Activation` being one that came in
#: pieces. All others keep their gradient.
RATIO: frozenset[str] = frozenset(
    {
        "Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Clip", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign",
        "HardSwish", "Gelu", "QuickGelu", "Mish", "Swish", "ThresholdedRelu", "Shrink", "Erf", "Activation",
    }
)  # fmt: skip


class _RatioGradient(torch.autograd.Function):
    """`f(z)` forward; the gradient times `f(z)/(z + ε·sgn z)` backward, with sgn 0 = +1."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, function: Callable[[Tensor], Tensor], epsilon: float) -> Tensor:
        out = function(z)
        ctx.epsilon = epsilon
        ctx.save_for_backward(z, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        z, out = ctx.saved_tensors
        shifted = z + torch.where(z >= 0, ctx.epsilon, -ctx.epsilon)
        return gradients[0] * out / shifted, None, None


class Ratio(nn.Module):
    """A nonlinearity whose derivative is replaced by its ratio."""

    def __init__(self, function: nn.Module, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.function, self.epsilon = function, epsilon

    def forward(self, z: Tensor, *bounds: Tensor | None, **named: Tensor | None) -> Tensor:
        """`bounds` and `named` are constants of the function, such as those of Clip."""
        out: Tensor = _RatioGradient.apply(z, lambda x: self.function(x, *bounds, **named), self.epsilon)
        return out


def operator_of(name: str) -> str:
    """The ONNX operator behind a submodule's name (`Relu_12` → `Relu`)."""
    return name.rsplit("_", 1)[0]


def with_rules(graph: torch.fx.GraphModule, epsilon: float = EPSILON) -> torch.fx.GraphModule:
    """A copy of `graph`, weights shared, in which every operator of `RATIO` has the ratio rule."""
    ruled = copy.copy(graph)
    ruled._modules = dict(graph._modules)
    for name, module in graph.named_children():
        if operator_of(name) in RATIO:
            ruled._modules[name] = Ratio(module, epsilon)
    return ruled
