"""Operators that ONNX Runtime's optimiser fuses: linear operators with activations, and sums with what follows them.

They are described in ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.losses import make_gemm
from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


#: Values of the attribute `activation`; the modules take `activation_params` as arguments.
_ACTIVATIONS: Mapping[str, Callable[..., nn.Module]] = {
    "Relu": nn.ReLU,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "LeakyRelu": nn.LeakyReLU,
    "Clip": nn.Hardtanh,
    "HardSigmoid": lambda alpha, beta: Apply(lambda x: torch.clamp(alpha * x + beta, 0, 1)),
}


def make_activation(node: Node) -> nn.Module:
    """The activation of a fused node; the identity where there is none."""
    name = node.get("activation", "")
    if not name:
        return nn.Identity()
    if name not in _ACTIVATIONS:
        raise NotImplementedError(f"activation {name!r}")
    values = node.get("activation_params")
    named = [node.get(f"activation_{key}") for key in ("alpha", "beta", "gamma")]
    return _ACTIVATIONS[name](*(values if values is not None else [value for value in named if value is not None]))


class LinearActivation(nn.Module):
    """A linear operator followed by its activation."""

    def __init__(self, linear: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, *inputs: Tensor | None) -> Tensor:
        result: Tensor = self.activation(self.linear(*inputs))
        return result


class Conv(nn.Module):
    """Convolution with an optional residual sum."""

    def __init__(self, settings: Mapping[str, Any], before: list[int], after: list[int]) -> None:
        super().__init__()
        self.settings, self.before, self.after = dict(settings), before, after

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
        rank = x.dim() - 2
        before, after = self.before or [0] * rank, self.after or [0] * rank
        sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
        function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        result = function(F.pad(x, sides) if any(sides) else x, weight, bias, **self.settings)
        return result if added is None else result + added


@converter("FusedConv", *_RUNTIME, domain=_MICROSOFT)
def fused_conv(node: Node) -> TorchOperator:
    """FusedConv: Conv, a residual sum, an activation."""
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError("auto_pad of a fused convolution")
    pads = list(node.get("pads", []))
    names = (("strides", "stride"), ("dilations", "dilation"), ("group", "groups"))
    settings = {ours: node.get(theirs) for theirs, ours in names if node.get(theirs) is not None}
    half = len(pads) // 2
    return LinearActivation(Conv(settings, pads[:half], pads[half:]), make_activation(node))


@converter("FusedGemm", *_RUNTIME, domain=_MICROSOFT)
def fused_gemm(node: Node) -> TorchOperator:
    """FusedGemm: Gemm and an activation."""
    return LinearActivation(make_gemm(node), make_activation(node))


class ScaledProduct(nn.Module):
    """`alpha · A · B`; a factor may have its last two axes transposed, or its leading axis moved before the last."""

    def __init__(self, alpha: float, left: tuple[bool, bool], right: tuple[bool, bool]) -> None:
        super().__init__()
        self.alpha, self.left, self.right = alpha, left, right

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.alpha * torch.matmul(_transpose_factor(a, *self.left), _transpose_factor(b, *self.right))


def _transpose_factor(x: Tensor, batch: bool, last: bool) -> Tensor:
    if x.dim() < 2:
        return x
    moved = x.movedim(0, -2) if batch else x
    return moved.mT if last else moved


@converter("FusedMatMul", *_RUNTIME, domain=_MICROSOFT)
@converter("TransposeMatMul", *_RUNTIME, domain=_MICROSOFT)
def fused_matmul(node: Node) -> TorchOperator:
    """FusedMatMul: a scaled product with transpositions."""
    left, right = ((bool(node.get(f"transBatch{side}", 0)), bool(node.get(f"trans{side}", 0))) for side in "AB")
    return ScaledProduct(node.get("alpha", 1.0), left, right)


@converter("Gelu", *_RUNTIME, domain=_MICROSOFT)
def gelu(_node: Node) -> TorchOperator:
    """Gelu of ONNX Runtime, which is exact."""
    return nn.GELU()


def _apply_biased(function: Callable[[Tensor], Tensor], x: Tensor, bias: Tensor | None = None) -> Tensor:
    return function(x if bias is None else x + bias)


@converter("BiasGelu", *_RUNTIME, domain=_MICROSOFT)
@converter("FastGelu", *_RUNTIME, domain=_MICROSOFT)
def bias_gelu(node: Node) -> TorchOperator:
    """BiasGelu, and FastGelu, which is its tanh approximation."""
    return Apply(partial(_apply_biased, nn.GELU("tanh" if node.operator == "FastGelu" else "none")))


@converter("QuickGelu", *_RUNTIME, domain=_MICROSOFT)
def quick_gelu(node: Node) -> TorchOperator:
    """QuickGelu: `x · σ(alpha·x)`."""
    alpha = node.get("alpha", 1.702)
    return Apply(lambda x: x * torch.sigmoid(alpha * x))


def _add_residual(x: Tensor, bias: Tensor, added: Tensor | None = None) -> Tensor:
    return x + bias if added is None else x + bias + added


@converter("BiasAdd", *_RUNTIME, domain=_MICROSOFT)
def bias_add(_node: Node) -> TorchOperator:
    """BiasAdd: `x + bias + residual`."""
    return Apply(_add_residual)


class BiasDropout(nn.Module):
    """`x + bias + residual` without dropout, and a mask of ones."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(
        self, x: Tensor, bias: Tensor, residual: Tensor | None = None,
        _ratio: Tensor | None = None, _training: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        result = _add_residual(x, bias, residual)
        return result if self.outputs == 1 else (result, torch.ones_like(x, dtype=torch.bool))


@converter("BiasDropout", *_RUNTIME, domain=_MICROSOFT)
def bias_dropout(node: Node) -> TorchOperator:
    """BiasDropout in inference mode: `dropout(x + bias) + residual`."""
    training = node.constant(4)
    if training is not None and training.any():
        raise NotImplementedError("BiasDropout in training mode")
    return BiasDropout(node.outputs)


def _split_gelu(x: Tensor, bias: Tensor) -> Tensor:
    left, right = torch.chunk(x + bias, 2, -1)
    return left * F.gelu(right)


@converter("BiasSplitGelu", *_RUNTIME, domain=_MICROSOFT)
def bias_split_gelu(_node: Node) -> TorchOperator:
    """BiasSplitGelu: the first half of the channels of `x + bias` times the exact Gelu of the second."""
    return Apply(_split_gelu)


def _bias_softmax(x: Tensor, bias: Tensor, axis: int) -> Tensor:
    total = x + bias
    return torch.softmax(total.flatten(axis), axis if axis >= 0 else -1).reshape(total.shape)


@converter("BiasSoftmax", *_RUNTIME, domain=_MICROSOFT)
def bias_softmax(node: Node) -> TorchOperator:
    """BiasSoftmax: one softmax over all axes from `axis` on; the bias broadcasts by its shape."""
    return Apply(partial(_bias_softmax, axis=node.get("axis", 1)))
