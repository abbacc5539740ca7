"""The one trick behind every rule: a value that goes forward as it is, and factors that gradients are multiplied by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_HUGE = 1e30
_CHUNK = 2**17  # elements: what several passes of arithmetic find in the processor's cache


class _RedirectedGradient(torch.autograd.Function):
    """`value` forward; backward, the gradient times its factor for each source."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *sources_and_factors: Tensor) -> Tensor:
        ctx.save_for_backward(*sources_and_factors[len(sources_and_factors) // 2 :])
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factors = ctx.saved_tensors
        return None, *(factor * gradients[0] for factor in factors), *[None] * len(factors)


def redirect_gradient(value: Tensor, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """`value` [any shape], whose gradient goes to each source of `pairs` times that source's factor, shaped alike."""
    sources, factors = zip(*pairs, strict=True)
    made: Tensor = _RedirectedGradient.apply(value.detach(), *sources, *factors)
    return made


class _SubstitutedValue(torch.autograd.Function):
    """`value` in the place of `x`: backward, the gradient times `value` goes to `x`."""

    @staticmethod
    def forward(ctx: Any, _x: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


def substitute_value(x: Tensor, value: Tensor) -> Tensor:
    """`value`, shaped like `x`, whose gradient times itself, a relevance, is passed to `x`."""
    made: Tensor = _SubstitutedValue.apply(x, value.detach())
    return made


class _ScaledGradient(torch.autograd.Function):
    """The identity; the gradient times a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """`x` itself, whose gradient is multiplied by `factor`."""
    made: Tensor = _ScaledGradient.apply(x, factor)
    return made


def stabilise(z: Tensor, epsilon: float, out: Tensor | None = None) -> Tensor:
    """`z + ε·sgn z` with sgn 0 = +1, as a new tensor or in `out`.

    `clamp(huge · z + ε, −ε, ε)` is ε·sgn z for any z that matters, at a fraction of the cost of `torch.where`.
    """
    return torch.mul(z, _HUGE, out=out).add_(epsilon).clamp_(-epsilon, epsilon).add_(z)


def apply_elementwise(function: Callable[..., object], *inputs: Tensor) -> Tensor:
    """`function(*inputs, out)`, which fills `out`, of tensors shaped alike: piece by piece on a CPU.

    Memory is then read and written once, however many steps the function has.
    """
    made = torch.empty_like(inputs[-1])  # in the order of activations: a gradient may have another
    flat = [_flatten(tensor, made) for tensor in (*inputs, made)]
    if made.device.type != "cpu" or made.numel() <= _CHUNK or any(tensor is None for tensor in flat):
        function(*inputs, made)
        return made
    for pieces in zip(*(torch.split(tensor, _CHUNK) for tensor in flat if tensor is not None), strict=True):
        function(*pieces)
    return made


def _flatten(tensor: Tensor, like: Tensor) -> Tensor | None:
    """All elements in the order of memory; None where another tensor has another order, or gaps."""
    if tensor.shape != like.shape or tensor.stride() != like.stride():
        return None
    order = sorted(range(tensor.dim()), key=lambda axis: (tensor.stride()[axis], tensor.shape[axis]), reverse=True)
    dense = tensor.permute(order)
    return dense.view(-1) if dense.is_contiguous() else None
