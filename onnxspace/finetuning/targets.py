"""What a network is fine-tuned on: classes, several labels, numbers, or another network's answers; the loss and the judgement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["classes", "answers", "multilabel", "regression"]


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of images, float32 [images, outputs].

    `classes` are one-hot rows, `answers` another network's probabilities, `multilabel` 0 or 1, and `regression` numbers, which are
    standardised by `standardise`. `names` are the names of the outputs.
    """

    kind: Kind
    values: NDArray[np.float32]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def outputs(self) -> int:
        return int(self.values.shape[1])

    @property
    def strata(self) -> NDArray[np.intp]:
        """The class of each image, by which folds are balanced; all 0 for numbers and several labels."""
        single = self.kind in ("classes", "answers")
        return np.asarray(self.values.argmax(1) if single else np.zeros(len(self), np.intp))

    @property
    def constant(self) -> tuple[float, float]:
        """The result and the loss of the best constant answer."""
        mean = torch.from_numpy(self.values).mean(0, keepdim=True).expand(len(self), -1)
        logits = mean.clamp(1e-6, 1 - 1e-6).logit() if self.kind == "multilabel" else mean.clamp_min(1e-6).log()
        given = mean if self.kind == "regression" else logits
        losses = compute_losses(self.kind, given, torch.from_numpy(self.values))
        return float(np.mean(judge(self.kind, given.numpy(), self.values))), float(losses.mean())


def standardise(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Centre and scale each target to unit variance; one that never varies becomes 0."""
    centred = values - values.mean(0)
    deviation = centred.std(0)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1), np.float32)


def compute_losses(kind: Kind, given: Tensor, wanted: Tensor) -> Tensor:
    """The loss of each image, float32 [images]: cross-entropy, binary cross-entropy, or half the squared error, means over outputs."""
    if kind in ("classes", "answers"):
        return -(wanted * F.log_softmax(given, 1)).sum(1)
    if kind == "multilabel":
        return F.binary_cross_entropy_with_logits(given, wanted, reduction="none").mean(1)
    return (given - wanted).square().mean(1) / 2


def judge(kind: Kind, given: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """The result of each image, float64 [images], whose mean is the result of all.

    Whether the class is right (classes, answers); the share of right labels (multilabel); 1 − the squared error of standardised
    targets, whose mean is R² (regression).
    """
    if kind in ("classes", "answers"):
        return np.asarray(given.argmax(1) == wanted.argmax(1), np.float64)
    if kind == "multilabel":
        return np.asarray(((given > 0) == (wanted > 0.5)).mean(1), np.float64)
    return np.asarray(1 - np.square(given.astype(np.float64) - wanted).mean(1))
