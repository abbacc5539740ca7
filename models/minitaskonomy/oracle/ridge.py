"""The same question in closed form: readouts that are linear in a 3 × 3 neighbourhood, for targets whose labels are images.

A ridge regression for each target, its penalty the one that does best on a fifth of the labels. It finds the optimum, which a
trained readout may miss, and can't find what is not linear; where both order sources alike, the order is not the readout's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.minitaskonomy.oracle.examples import average_relative, compute_reference
from models.minitaskonomy.tasks import Task

#: Shares of the features' mean variance.
PENALTIES = tuple(10.0**power for power in range(-6, 2))


@dataclass(frozen=True)
class Moments:
    """Sums over rows: of products of inputs [d, d], of inputs and outputs [d, k], of squared outputs [k]; float64."""

    inputs: Tensor
    mixed: Tensor
    squares: Tensor
    rows: int

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """Of inputs [n, 64, d] and outputs [n, 64, k]."""
        parts = [_multiply(a, b) for a, b in zip(x.split(50), y.split(50), strict=True)]
        inputs, mixed, squares = (torch.stack(column).sum(0) for column in zip(*parts, strict=True))
        return cls(inputs, mixed, squares, x.shape[0] * x.shape[1])

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.inputs + other.inputs, self.mixed + other.mixed, self.squares + other.squares, self.rows + other.rows
        )

    def errors(self, weights: Tensor) -> Tensor:
        """Summed squared errors of every output [k] under weights [d, k]."""
        return self.squares - 2 * (weights * self.mixed).sum(0) + (weights * (self.inputs @ weights)).sum(0)


def _multiply(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = x.flatten(0, 1).double(), y.flatten(0, 1).double()
    return a.T @ a, a.T @ b, b.square().sum(0)


def fit_penalties(known: Moments, one: int) -> list[Tensor]:
    """Weights [d, k] for every penalty; the column `one` of the inputs is a constant, which is not penalised."""
    mean_x, mean_y = known.inputs[one] / known.rows, known.mixed[one] / known.rows
    spread = known.inputs - known.rows * torch.outer(mean_x, mean_x)
    mixed = known.mixed - known.rows * torch.outer(mean_x, mean_y)
    values, vectors = torch.linalg.eigh(spread)
    turned, scale = vectors.T @ mixed, values.clamp(min=0).mean()
    found = []
    for penalty in PENALTIES:
        weights = vectors @ (turned / (values.clamp(min=0) + penalty * scale)[:, None])
        weights[one] = 0.0
        weights[one] = mean_y - mean_x @ weights
        found.append(weights)
    return found


def measure_losses(
    tasks: Sequence[Task], x: Tensor, truths: Sequence[Tensor], test: tuple[Tensor, Sequence[Tensor]], one: int
) -> Tensor:
    """Relative errors of every target on the test images, float64 [targets], as `readout.measure_losses` has them.

    `x` [n, 64, d] and truths are those of `readout.train`, for tasks whose labels are images; column `one` of `x` is a constant.
    """
    fit = len(x) - len(x) // 5
    columns, outside = torch.cat(list(truths), 2), torch.cat(list(test[1]), 2)
    seen, held, unseen = Moments.of(x[:fit], columns[:fit]), Moments.of(x[fit:], columns[fit:]), Moments.of(test[0], outside)
    guesses = torch.stack(
        [
            _average_errors(tasks, held.errors(weights), [truth[fit:] for truth in truths])
            for weights in fit_penalties(seen, one)
        ]
    )
    finals = torch.stack(
        [_average_errors(tasks, unseen.errors(weights), test[1]) for weights in fit_penalties(seen + held, one)]
    )
    return finals.gather(0, guesses.argmin(0)[None])[0]


def _average_errors(tasks: Sequence[Task], error: Tensor, truths: Sequence[Tensor]) -> Tensor:
    """Errors of columns as relative errors of targets."""
    widths = [truth.shape[2] for truth in truths]
    parts = zip(tasks, error.split(widths), truths, strict=True)
    return torch.stack(
        [
            average_relative(part.view(task.channels, -1).sum(1), compute_reference(task, truth.double(), truth[0, 0, 0]))
            for task, part, truth in parts
        ]
    )
