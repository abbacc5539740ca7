"""Rules for operators that are several functions in one: the functions are caught while the operator computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onnxspace.attribution.lrp.autograd import scale_gradient

Substitutes = Mapping[Any, Callable[..., Any]]


class _SubstituteMode(TorchFunctionMode):
    """Calls a substitute wherever it has one for a function of torch."""

    def __init__(self, substitutes: Substitutes) -> None:
        super().__init__()
        self.substitutes = substitutes

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.substitutes.get(func, func)(*args, **(kwargs or {}))


class SubstitutedOperator(nn.Module):
    """An operator in which some functions are computed by substitutes of the same value and another gradient."""

    def __init__(self, function: nn.Module, substitutes: Substitutes) -> None:
        super().__init__()
        self.function, self.substitutes = function, substitutes

    def forward(self, *inputs: Tensor | None, **named: Tensor | None) -> Any:
        with _SubstituteMode(self.substitutes):
            return self.function(*inputs, **named)


def _need_gradients(*values: Any) -> bool:
    return all(isinstance(value, Tensor) and value.requires_grad for value in values)


def _halve_relevance(function: Callable[..., Any]) -> Callable[..., Any]:
    """A product of two tensors: where both are computed, each gets half of the relevance."""

    def applied(a: Any, b: Any, *rest: Any, **named: Any) -> Any:
        a, b = (scale_gradient(a, 0.5), scale_gradient(b, 0.5)) if _need_gradients(a, b) else (a, b)
        return function(a, b, *rest, **named)

    return applied


def _addmm(c: Tensor, a: Tensor, b: Tensor, **named: Any) -> Tensor:
    return _halve_relevance(lambda first, second: torch.addmm(c, first, second, **named))(a, b)  # type: ignore[no-any-return]


def _einsum(equation: str, *factors: Any) -> Tensor:
    """A product of any number of tensors: those that are computed get equal parts."""
    count = sum(_need_gradients(factor) for factor in factors)
    return torch.einsum(equation, *(scale_gradient(f, 1 / count) if count > 1 and _need_gradients(f) else f for f in factors))


def _detach_denominator(a: Any, b: Any) -> Any:
    """A quotient whose denominator is a constant to the gradient, where both are computed."""
    return torch.div(a, b.detach()) if _need_gradients(a, b) else torch.div(a, b)


def _detach_input(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function without a gradient."""
    return lambda x, *rest: function(x.detach(), *rest) if isinstance(x, Tensor) else function(x, *rest)


def _apply_affine(x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if scale is None else x * scale
    return x if bias is None else x + bias


def _standardise(x: Tensor, axes: list[int], eps: float) -> Tensor:
    """Zero mean and unit variance over `axes`; the deviation is a constant to the gradient, the mean is not."""
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.detach().square().mean(axes, keepdim=True) + eps)


def _layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    return _apply_affine(_standardise(x, list(range(-len(shape), 0)), eps), weight, bias)


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    made = _standardise(x.reshape(x.shape[0], groups, -1), [2], eps).reshape(x.shape)
    shape = (-1, *[1] * (x.dim() - 2))
    return _apply_affine(made, None if weight is None else weight.reshape(shape), None if bias is None else bias.reshape(shape))


_PRODUCTS: dict[Any, tuple[Any, ...]] = {
    torch.matmul: (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__),
    torch.mul: (torch.mul, torch.Tensor.mul, torch.Tensor.__mul__),
    **{f: (f,) for f in (torch.bmm, torch.conv1d, torch.conv2d, torch.conv3d)},
    **{f: (f,) for f in (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)},
}
#: Products share relevance equally between computed factors (Achtibat et al. 2024, proposition 3.3, ε → 0).
HALVED: Substitutes = {
    **{spelling: _halve_relevance(function) for function, spellings in _PRODUCTS.items() for spelling in spellings},
    torch.addmm: _addmm,
    torch.einsum: _einsum,
}
#: Statistics that normalise are constants (ib., proposition 3.4): then relevance is kept up to the bias.
DETACHED: Substitutes = {
    torch.div: _detach_denominator,
    torch.Tensor.div: _detach_denominator,
    torch.Tensor.__truediv__: _detach_denominator,
    torch.rsqrt: _detach_input(torch.rsqrt),
    torch.reciprocal: _detach_input(torch.reciprocal),
    torch.layer_norm: _layer_norm,
    F.layer_norm: _layer_norm,
    torch.group_norm: _group_norm,
    F.group_norm: _group_norm,
}
