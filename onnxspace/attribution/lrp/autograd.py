"""Autograd functions behind all rules: the forward value is unchanged, and gradients are multiplied by factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_HUGE = 1e30
_CHUNK = 2**17  # elements that stay in the processor's cache over several passes of arithmetic


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
    """Return `value` with another gradient: each source in `pairs` of (source, factor) gets the gradient times its factor.

    `value`, sources and factors have the same shape.
    """
    sources, factors = zip(*pairs, strict=True)
    out: Tensor = _RedirectedGradient.apply(value.detach(), *sources, *factors)
    return out


class _SubstitutedValue(torch.autograd.Function):
    """`value` in place of `x`; backward, the gradient times `value` goes to `x`."""

    @staticmethod
    def forward(ctx: Any, _x: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


def substitute_value(x: Tensor, value: Tensor) -> Tensor:
    """Return `value`, of the shape of `x`; its gradient times the value, which is a relevance, is passed to `x`."""
    out: Tensor = _SubstitutedValue.apply(x, value.detach())
    return out


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
    """Return `x` with its gradient multiplied by `factor`."""
    out: Tensor = _ScaledGradient.apply(x, factor)
    return out


def stabilise(z: Tensor, epsilon: float, out: Tensor | None = None) -> Tensor:
    """Return `z + ε·sgn z` with sgn 0 = +1, as a new tensor or in `out`: a denominator bounded away from zero.

    `clamp(huge · z + ε, −ε, ε)` is ε·sgn z unless |z| < 2 ε / huge, at a fraction of the cost of `torch.where`.
    """
    return torch.mul(z, _HUGE, out=out).add_(epsilon).clamp_(-epsilon, epsilon).add_(z)


def apply_elementwise(function: Callable[..., object], *inputs: Tensor) -> Tensor:
    """Return `out`, which `function(*inputs, out)` fills, for tensors of the same shape; on a CPU chunk by chunk.

    By chunks, memory is read and written once, however many steps the function has.
    """
    out = torch.empty_like(inputs[-1])  # in the memory order of activations: a gradient may have another
    if out.device.type != "cpu" or out.numel() <= _CHUNK or not _have_one_order(out, inputs):
        function(*inputs, out)
        return out
    flat = [torch.split(tensor.as_strided((out.numel(),), (1,)), _CHUNK) for tensor in (*inputs, out)]
    for chunks in zip(*flat, strict=True):
        function(*chunks)
    return out


def _have_one_order(out: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether all have the shape and the memory order of `out`, a new tensor, which has its elements without gaps."""
    orders = [(tensor.shape, tensor.stride()) for tensor in inputs]
    return orders.count((out.shape, out.stride())) == len(orders)
