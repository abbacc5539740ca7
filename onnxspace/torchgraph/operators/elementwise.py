"""Functions of one tensor: activations, clipping, and others that onnx2torch lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.arithmetic import UNSIGNED, from_ordered, narrow, to_ordered, widen
from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter, limit_inputs


def _sign(x: Tensor) -> Tensor:
    """Sign; of NaN it is NaN as in the ONNX standard, not zero as in Torch."""
    if x.dtype in UNSIGNED:
        return narrow((widen(x) != 0).to(torch.int64), x.dtype)
    return torch.where(torch.isnan(x), x, torch.sign(x)) if x.is_floating_point() else torch.sign(x)


_SIMPLE: dict[str, Callable[[Tensor], Tensor]] = {
    "Acosh": torch.acosh,
    "Asinh": torch.asinh,
    "Atanh": torch.atanh,
    "Cosh": torch.cosh,
    "Sinh": torch.sinh,
    "Neg": lambda x: narrow(-widen(x), x.dtype),
    "Abs": lambda x: x if x.dtype in UNSIGNED else torch.abs(x),
    "Sign": _sign,
    "BitwiseNot": lambda x: narrow(~widen(x), x.dtype),
    "IsNaN": torch.isnan,
    "Ceil": torch.ceil,
    "Floor": torch.floor,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Tanh": torch.tanh,
    "Relu": torch.relu,
}


@converter("Acosh", 9, 22)
@converter("Asinh", 9, 22)
@converter("Atanh", 9, 22)
@converter("Cosh", 9, 22)
@converter("Sinh", 9, 22)
@converter("Neg", 1, 6, 13)
@converter("Abs", 1, 6, 13)
@converter("Sign", 9, 13)
@converter("BitwiseNot", 18)
@converter("IsNaN", 9, 13, 20)
@converter("Ceil", 1)
@converter("Floor", 1)
@converter("Exp", 1)
@converter("Log", 1)
@converter("Sqrt", 1)
@converter("Reciprocal", 1)
@converter("Tanh", 1)
@converter("Relu", 1)
def simple(node: Node) -> TorchOperator:
    """A function of one tensor without attributes."""
    return Apply(_SIMPLE[node.operator])


def _relu_like(positive: float, negative: float, alpha: float) -> Callable[[Tensor], Tensor]:
    """The function that is `positive · x` above zero and `negative · (exp(x / alpha) − 1)` below."""

    def apply(x: Tensor) -> Tensor:
        below = negative * torch.expm1(torch.clamp(x, max=0) / alpha)  # clamped: an infinity would make the gradient NaN
        return torch.where(x > 0, positive * x, below)

    return apply


@converter("Elu", 1, 6, 22)
def elu(node: Node) -> TorchOperator:
    """Elu."""
    return nn.ELU(alpha=node.get("alpha", 1.0))


@converter("Selu", 1, 6, 22)
def selu(node: Node) -> TorchOperator:
    """Selu with any coefficients; the defaults of version 1 are rounded."""
    alpha, gamma = (1.6732, 1.0507) if node.version == 1 else (1.67326319217681884765625, 1.05070102214813232421875)
    alpha, gamma = node.get("alpha", alpha), node.get("gamma", gamma)
    return Apply(_relu_like(gamma, gamma * alpha, 1.0))


@converter("Celu", 12, 28)
def celu(node: Node) -> TorchOperator:
    """Celu."""
    alpha = node.get("alpha", 1.0)
    return Apply(_relu_like(1.0, alpha, alpha))


@converter("HardSigmoid", 1, 6, 22)
def hard_sigmoid(node: Node) -> TorchOperator:
    """`clamp(alpha · x + beta, 0, 1)`."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return Apply(lambda x: torch.clamp(alpha * x + beta, 0, 1))


@converter("LeakyRelu", 1)
def leaky_relu(node: Node) -> TorchOperator:
    """LeakyRelu."""
    return nn.LeakyReLU(node.get("alpha", 0.01))


@converter("ThresholdedRelu", 10, 22)
def thresholded_relu(node: Node) -> TorchOperator:
    """`x` above the threshold, zero elsewhere."""
    alpha = node.get("alpha", 1.0)
    return Apply(lambda x: torch.where(x > alpha, x, 0))


@converter("Shrink", 9)
def shrink(node: Node) -> TorchOperator:
    """Shift towards zero by `bias` outside `[−lambd, lambd]`, and zero inside; integers are computed in double precision."""
    bias, border = node.get("bias", 0.0), node.get("lambd", 0.5)

    def apply(x: Tensor) -> Tensor:
        z = x if x.is_floating_point() else widen(x).double()
        result = torch.where(z < -border, z + bias, torch.where(z > border, z - bias, 0))
        return result if x.is_floating_point() else narrow(result.to(torch.int64), x.dtype)

    return Apply(apply)


@converter("Swish", 24)
def swish(node: Node) -> TorchOperator:
    """`x · sigmoid(alpha · x)`."""
    alpha = node.get("alpha", 1.0)
    return Apply(lambda x: x * torch.sigmoid(alpha * x))


@converter("SwiGLU", 28)
def swiglu(node: Node) -> TorchOperator:
    """Swish of the first tensor times the second."""
    alpha = node.get("alpha", 1.0)
    return Apply(lambda gate, value: gate * torch.sigmoid(alpha * gate) * value)


@converter("PRelu", 1, 6, 7, 9, 16)
def prelu(node: Node) -> TorchOperator:
    """`slope · x` below zero; before version 7, one slope for every channel or for all."""
    per_channel = node.version < 7

    def apply(x: Tensor, slope: Tensor) -> Tensor:
        if per_channel and slope.numel() > 1:
            slope = slope.reshape(-1, *[1] * (x.dim() - 2))
        z = widen(x)
        return narrow(torch.where(z > 0, z, widen(slope) * z), x.dtype)

    return Apply(apply)


@converter("IsInf", 10, 20)
def is_inf(node: Node) -> TorchOperator:
    """Whether a value is one of the requested infinities."""
    asked = [math.copysign(math.inf, s) for s, name in ((1, "positive"), (-1, "negative")) if node.get(f"detect_{name}", 1)]
    return Apply(lambda x: reduce(torch.logical_or, [x == value for value in asked], torch.zeros_like(x, dtype=torch.bool)))


class Clip(nn.Module):
    """`min(max(x, low), high)`; either bound may be absent, constant or a tensor."""

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        pairs = ((self.low, low), (self.high, high))
        bounds: list[Any] = [fixed if given is None else to_ordered(given.reshape(())) for fixed, given in pairs]
        if all(bound is None for bound in bounds):
            return x
        return from_ordered(torch.clamp(to_ordered(x), *bounds), x.dtype)


def _make_clip(low: float | None, high: float | None) -> TorchOperator:
    """A module for constant bounds: clipping at zero becomes ReLU, whose gradient at zero is zero."""
    if low == 0 and high in (None, 6):
        return nn.ReLU() if high is None else nn.ReLU6()
    return Clip(low, high)


@converter("Clip", 1, 6)
def clip_attributes(node: Node) -> TorchOperator:
    """Clip with bounds as attributes."""
    return _make_clip(node.get("min"), node.get("max"))


@converter("Clip", 11, 12, 13)
def clip(node: Node) -> TorchOperator:
    """Clip with bounds as inputs, constant or computed."""
    try:
        bounds = [node.constant(1), node.constant(2)]
    except NotImplementedError:
        return Clip()
    kinds = {np.dtype(bound.dtype).name for bound in bounds if bound is not None}
    if "uint64" in kinds:
        return Clip()
    low, high = (None if bound is None else bound.reshape(()).item() for bound in bounds)
    result = Clip(low, high) if any("int" in kind for kind in kinds) else _make_clip(low, high)
    return limit_inputs(result, 1)  # a function of one tensor, as rules for activations require


@converter("Gelu", 20)
def gelu(node: Node) -> TorchOperator:
    """Gelu, exact or with its tanh approximation."""
    return nn.GELU(approximate=node.get("approximate", "none"))


@converter("Mish", 18, 22)
def mish(_node: Node) -> TorchOperator:
    """Mish."""
    return nn.Mish()
