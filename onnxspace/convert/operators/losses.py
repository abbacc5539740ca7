"""Losses, matrix products and Dropout, and what ONNX Runtime fuses them into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.convert.node import Apply, Made, Node, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 where a model does not import the domain, which ONNX Runtime allows


def negative_log_likelihood(
    log_prob: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignored: int | None
) -> Tensor:
    """`−weight[target] · log_prob[target]`, zero where the target is `ignored`; the mean is over the weights."""
    target = target.long()
    out = torch.zeros_like(target, dtype=torch.bool) if ignored is None else target == ignored
    target = torch.where(out, torch.zeros_like(target), target)
    given = torch.ones_like(target, dtype=log_prob.dtype) if weight is None else weight[target]
    factor = torch.where(out, torch.zeros_like(given), given)
    chosen = log_prob.gather(1, target.unsqueeze(1)).squeeze(1)
    loss = -torch.where(out, torch.zeros_like(chosen), chosen) * factor
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / factor.sum()


class Loss(nn.Module):
    """A loss of scores, or of logarithms of probabilities, for class labels."""

    def __init__(self, node: Node, scores: bool) -> None:
        super().__init__()
        self.reduction, self.ignored = node.get("reduction", "mean"), node.get("ignore_index")
        self.scores, self.outputs = scores, node.outputs
        if self.reduction not in ("mean", "sum", "none"):
            raise NotImplementedError(f"reduction {self.reduction!r}")

    def forward(self, x: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        log_prob = F.log_softmax(x, 1) if self.scores else x
        loss = negative_log_likelihood(log_prob, target, weight, self.reduction, self.ignored)
        return loss if self.outputs == 1 else (loss, log_prob)


@converter("SoftmaxCrossEntropyLoss", 12, 13)
def softmax_cross_entropy_loss(node: Node) -> Made:
    """SoftmaxCrossEntropyLoss with the logarithms of the probabilities."""
    return Loss(node, scores=True)


@converter("NegativeLogLikelihoodLoss", 12, 13, 22)
def negative_log_likelihood_loss(node: Node) -> Made:
    """NegativeLogLikelihoodLoss."""
    return Loss(node, scores=False)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product; of integers in 64 bits, which Torch has for every type."""
    return torch.matmul(a, b) if a.is_floating_point() else torch.matmul(a.long(), b.long()).to(a.dtype)


@converter("MatMul", 1, 9, 13)
def matmul(_node: Node) -> Made:
    """MatMul."""
    return Apply(_product)


class Gemm(nn.Module):
    """`alpha · A · B + beta · C`, either factor transposed, C broadcast."""

    def __init__(self, alpha: float, beta: float, left: bool, right: bool) -> None:
        super().__init__()
        self.alpha, self.beta, self.left, self.right = alpha, beta, left, right

    def forward(self, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        first, second = a.mT if self.left else a, b.mT if self.right else b
        if not a.is_floating_point():
            made = self.alpha * torch.matmul(first.long(), second.long()) + (0 if c is None else self.beta * c.long())
            return made.to(a.dtype)
        if c is None:
            return self.alpha * torch.matmul(first, second) if self.alpha != 1 else torch.matmul(first, second)
        return torch.addmm(c, first, second, beta=self.beta, alpha=self.alpha)


def _gemm(node: Node) -> Gemm:
    return Gemm(node.get("alpha", 1.0), node.get("beta", 1.0), bool(node.get("transA", 0)), bool(node.get("transB", 0)))


@converter("Gemm", 1, 6, 7, 9, 11, 13)
def gemm(node: Node) -> Made:
    """Gemm; before version 7, C broadcasts only where an attribute says so."""
    return _gemm(node)


@converter("Det", 11, 22)
def det(_node: Node) -> Made:
    """Determinants of a stack of matrices."""
    return Apply(torch.linalg.det)


class Dropout(nn.Module):
    """The identity, and a mask of its shape that is the same throughout."""

    def __init__(self, outputs: int, kept: bool, boolean: bool) -> None:
        super().__init__()
        self.outputs, self.kept, self.boolean = outputs, kept, boolean

    def forward(
        self, x: Tensor, _ratio: Tensor | None = None, _training: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        if self.outputs == 1:
            return x
        mask = torch.full_like(x, self.kept, dtype=torch.bool)
        return x, mask if self.boolean else mask.to(x.dtype)


@converter("Dropout", 1, 6, 7, 10, 12, 13, 22)
def dropout(node: Node) -> Made:
    """Dropout out of training, where it is the identity; before version 12, ONNX Runtime's mask keeps nothing."""
    training = node.constant(2) if node.version >= 12 else None
    if (node.version < 7 and not node.get("is_test", 0)) or (training is not None and training.any()):
        raise NotImplementedError("Dropout in training mode")
    return Dropout(node.outputs, kept=node.version >= 12, boolean=node.version >= 10)


#: Names of ONNX Runtime's `activation` attribute, with what `activation_params` stand for.
_ACTIVATIONS: Mapping[str, Callable[..., nn.Module]] = {
    "Relu": nn.ReLU,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "LeakyRelu": nn.LeakyReLU,
    "Clip": nn.Hardtanh,
    "HardSigmoid": lambda alpha, beta: Apply(lambda x: torch.clamp(alpha * x + beta, 0, 1)),
}


def _activation(node: Node) -> nn.Module:
    """The activation that a fused node ends with."""
    name = node.get("activation", "")
    if not name:
        return nn.Identity()
    if name not in _ACTIVATIONS:
        raise NotImplementedError(f"activation {name!r}")
    values = node.get("activation_params")
    named = [node.get(f"activation_{key}") for key in ("alpha", "beta", "gamma")]
    return _ACTIVATIONS[name](*(values if values is not None else [value for value in named if value is not None]))


class Fused(nn.Module):
    """A linear operator followed by its activation."""

    def __init__(self, linear: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, *inputs: Tensor | None) -> Tensor:
        made: Tensor = self.activation(self.linear(*inputs))
        return made


class Conv(nn.Module):
    """Convolution, with a tensor added to it where ONNX Runtime fuses a residual sum."""

    def __init__(self, settings: Mapping[str, Any], before: list[int], after: list[int]) -> None:
        super().__init__()
        self.settings, self.before, self.after = dict(settings), before, after

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
        rank = x.dim() - 2
        before, after = self.before or [0] * rank, self.after or [0] * rank
        sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
        function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        made = function(F.pad(x, sides) if any(sides) else x, weight, bias, **self.settings)
        return made if added is None else made + added


@converter("FusedConv", *_RUNTIME, domain=_MICROSOFT)
def fused_conv(node: Node) -> Made:
    """FusedConv: Conv, a residual sum, an activation."""
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError("auto_pad of a fused convolution")
    pads = list(node.get("pads", []))
    names = (("strides", "stride"), ("dilations", "dilation"), ("group", "groups"))
    settings = {ours: node.get(theirs) for theirs, ours in names if node.get(theirs) is not None}
    half = len(pads) // 2
    return Fused(Conv(settings, pads[:half], pads[half:]), _activation(node))


@converter("FusedGemm", *_RUNTIME, domain=_MICROSOFT)
def fused_gemm(node: Node) -> Made:
    """FusedGemm: Gemm and an activation."""
    return Fused(_gemm(node), _activation(node))


class ScaledProduct(nn.Module):
    """`alpha · A · B`; a factor is transposed in its last two axes, or by batch axes moved behind its rows."""

    def __init__(self, alpha: float, left: tuple[bool, bool], right: tuple[bool, bool]) -> None:
        super().__init__()
        self.alpha, self.left, self.right = alpha, left, right

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.alpha * torch.matmul(_turned(a, *self.left), _turned(b, *self.right))


def _turned(x: Tensor, batch: bool, last: bool) -> Tensor:
    if x.dim() < 2:
        return x
    moved = x.movedim(0, -2) if batch else x
    return moved.mT if last else moved


@converter("FusedMatMul", *_RUNTIME, domain=_MICROSOFT)
@converter("TransposeMatMul", *_RUNTIME, domain=_MICROSOFT)
def fused_matmul(node: Node) -> Made:
    """FusedMatMul: a scaled product with transpositions."""
    left, right = ((bool(node.get(f"transBatch{side}", 0)), bool(node.get(f"trans{side}", 0))) for side in "AB")
    return ScaledProduct(node.get("alpha", 1.0), left, right)


@converter("Gelu", *_RUNTIME, domain=_MICROSOFT)
def gelu(_node: Node) -> Made:
    """Gelu of ONNX Runtime: the exact form."""
    return nn.GELU()


def _biased(function: Callable[[Tensor], Tensor], x: Tensor, bias: Tensor | None = None) -> Tensor:
    return function(x if bias is None else x + bias)


@converter("BiasGelu", *_RUNTIME, domain=_MICROSOFT)
@converter("FastGelu", *_RUNTIME, domain=_MICROSOFT)
def bias_gelu(node: Node) -> Made:
    """BiasGelu, and FastGelu, which is the tanh form."""
    return Apply(partial(_biased, nn.GELU("tanh" if node.operator == "FastGelu" else "none")))


@converter("QuickGelu", *_RUNTIME, domain=_MICROSOFT)
def quick_gelu(node: Node) -> Made:
    """QuickGelu: `x · σ(alpha·x)`."""
    alpha = node.get("alpha", 1.702)
    return Apply(lambda x: x * torch.sigmoid(alpha * x))
