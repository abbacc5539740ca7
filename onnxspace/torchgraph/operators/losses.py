"""Losses, matrix products, determinants and Dropout."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter


def negative_log_likelihood(
    log_prob: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignored: int | None
) -> Tensor:
    """`−weight[target] · log_prob[target]`, zero where the target is `ignored`; "mean" divides by the sum of the weights."""
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
    """A classification loss of scores, or of logarithms of probabilities."""

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
def softmax_cross_entropy_loss(node: Node) -> TorchOperator:
    """SoftmaxCrossEntropyLoss, with the logarithms of the probabilities as second output."""
    return Loss(node, scores=True)


@converter("NegativeLogLikelihoodLoss", 12, 13, 22)
def negative_log_likelihood_loss(node: Node) -> TorchOperator:
    """NegativeLogLikelihoodLoss."""
    return Loss(node, scores=False)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product; integers are computed in int64."""
    return torch.matmul(a, b) if a.is_floating_point() else torch.matmul(a.long(), b.long()).to(a.dtype)


@converter("MatMul", 1, 9, 13)
def matmul(_node: Node) -> TorchOperator:
    """MatMul."""
    return Apply(_product)


class Gemm(nn.Module):
    """`alpha · A · B + beta · C`; either factor may be transposed, C is broadcast."""

    def __init__(self, alpha: float, beta: float, left: bool, right: bool) -> None:
        super().__init__()
        self.alpha, self.beta, self.left, self.right = alpha, beta, left, right

    def forward(self, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        first, second = a.mT if self.left else a, b.mT if self.right else b
        if not a.is_floating_point():
            result = self.alpha * torch.matmul(first.long(), second.long()) + (0 if c is None else self.beta * c.long())
            return result.to(a.dtype)
        if c is None:
            return self.alpha * torch.matmul(first, second) if self.alpha != 1 else torch.matmul(first, second)
        return torch.addmm(c, first, second, beta=self.beta, alpha=self.alpha)


def make_gemm(node: Node) -> Gemm:
    """The module for the attributes of a Gemm node."""
    return Gemm(node.get("alpha", 1.0), node.get("beta", 1.0), bool(node.get("transA", 0)), bool(node.get("transB", 0)))


@converter("Gemm", 1, 6, 7, 9, 11, 13)
def gemm(node: Node) -> TorchOperator:
    """Gemm; before version 7, C is broadcast only if an attribute is set."""
    return make_gemm(node)


@converter("Det", 11, 22)
def det(_node: Node) -> TorchOperator:
    """Determinants of a stack of matrices."""
    return Apply(torch.linalg.det)


class Dropout(nn.Module):
    """Dropout in inference mode: the identity, and a mask with one value throughout."""

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
def dropout(node: Node) -> TorchOperator:
    """Dropout in inference mode, where it is the identity; ONNX Runtime's mask is all false before version 12."""
    training = node.constant(2) if node.version >= 12 else None
    if (node.version < 7 and not node.get("is_test", 0)) or (training is not None and training.any()):
        raise NotImplementedError("Dropout in training mode")
    return Dropout(node.outputs, kept=node.version >= 12, boolean=node.version >= 10)
