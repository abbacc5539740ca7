"""What readouts are given, what they are asked, and the error of knowing nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.minitaskonomy.tasks import Task

GRID, SIDE, SHARP = 8, 4, 16


@dataclass(frozen=True)
class Truths:
    """Labels of several targets: those that are images as columns float32 [n, 64, 16 channels], and the others, in order."""

    columns: Tensor
    others: tuple[Tensor, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task], answers: Sequence[Tensor]) -> Truths:
        """From what `answers` gives for each target, images first."""
        count = sum(task.kind == "image" for task in tasks)
        empty = answers[0].new_zeros((len(answers[0]), GRID * GRID, 0), dtype=torch.float32)
        return cls(torch.cat([empty, *answers[:count]], 2), tuple(answers[count:]))

    def __getitem__(self, rows: Tensor | slice) -> Truths:
        """Those of some images."""
        return Truths(self.columns[rows], tuple(other[rows] for other in self.others))


def gather_neighbourhoods(features: Tensor) -> Tensor:
    """[n, c, 8, 8] → [n, 64, 9 c + 1 and more]: each position's 3 × 3 surroundings, zeros beyond the border, and a one.

    Zeros fill the last axis up to a multiple of 32, as processors like it.
    """
    rows = functional.unfold(features, 3, padding=1).transpose(1, 2)
    one = rows.new_zeros((*rows.shape[:2], 32 - rows.shape[2] % 32))
    one[..., 0] = 1.0
    return torch.cat([rows, one], 2)


def arrange_answers(task: Task, labels: Tensor) -> Tensor:
    """Labels as a readout gives them: float32 [n, 64, 16 channels] of images, channel after channel; int64 [n, 64, 16] of the
    classes of pixels; others as they are."""
    if task.kind in ("classes", "vector"):
        return labels
    pixels: Tensor = labels[..., ::2, ::2].unflatten(-2, (GRID, SIDE)).unflatten(-1, (GRID, SIDE))  # [n, (c,) 8, 4, 8, 4]
    if task.kind == "image":
        return pixels.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2).float()
    return pixels.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)


def compute_priors(task: Task, truth: Tensor) -> Tensor:
    """What is said without looking: means per channel, or logarithms of the shares of classes (each seen once more)."""
    if task.kind == "image":
        return truth.mean((0, 1)).view(-1, SHARP).mean(1)
    if task.kind == "vector":
        return truth.mean(0)
    return ((truth.flatten().bincount(minlength=task.channels) + 1.0) / (truth.numel() + task.channels)).log()


def compute_reference(task: Task, truth: Tensor, prior: Tensor) -> Tensor:
    """Errors [channels], or [1] of classes, summed over images, of who knows no more than that: of numbers, than their own mean."""
    if task.kind == "image":
        return (truth - compute_priors(task, truth).repeat_interleave(SHARP)).square().sum((0, 1)).view(-1, SHARP).sum(1)
    if task.kind == "vector":
        return (truth - truth.mean(0)).square().sum(0)
    return -prior[truth].sum()[None]


def average_relative(error: Tensor, known: Tensor) -> Tensor:
    """The mean over channels of an error as a share of the reference's; a channel that never varies counts as not known."""
    return torch.where(known > 1e-9, error / known.clamp(min=1e-9), 1.0).mean()
