"""Small readouts on frozen features, those of many targets trained together: a 3 × 3 convolution, ReLU, a linear layer.

A readout sees features on the 8 × 8 grid. Of images and of the classes of pixels it answers each position's square of 8 × 8 pixels
(of every 2 × 2 of them the first); classes follow from the mean of what it found over the grid, vectors from all of it. Targets
share nothing but the products in which they are computed, so each gets what it would alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.minitaskonomy.oracle.examples import GRID, SHARP, Truths, average_relative, compute_priors, compute_reference
from models.minitaskonomy.tasks import Task

HIDDEN = 32


@dataclass(frozen=True)
class Budget:
    """How readouts are trained: AdamW, its rate falling along a cosine; `looks` times a fifth of the labels is asked which weights
    are the best so far."""

    steps: int = 150
    batch: int = 32
    rate: float = 8e-3
    decay: float = 1e-3
    looks: int = 10


class Readouts:
    """Those of several targets on one kind of input; targets whose labels are images come first."""

    def __init__(self, tasks: Sequence[Task], inside: int, said: Sequence[Tensor], seed: int) -> None:
        """`inside` counts the numbers of a neighbourhood; `said` is what each target's readout says at first, whatever it sees."""
        self.tasks, self.pictures = tasks, sum(task.kind == "image" for task in tasks)
        device = said[0].device
        drawn = torch.randn(inside, HIDDEN, generator=torch.Generator().manual_seed(seed)) * (2.0 / inside) ** 0.5
        self.first = drawn.repeat(1, len(tasks)).to(device).requires_grad_()
        wide = [task.channels * SHARP for task in tasks[: self.pictures]]
        self.own = torch.block_diag(*(torch.ones(HIDDEN, width) for width in wide)).to(device)
        shapes = [(HIDDEN * self.pictures, sum(wide)), *(_size_output_layer(task) for task in tasks[self.pictures :])]
        self.second = [torch.zeros(shape, device=device, requires_grad=True) for shape in shapes]
        spread = [_spread_prior(task, prior) for task, prior in zip(tasks, said, strict=True)]
        pictures = torch.cat([*spread[: self.pictures], spread[0][:0]])
        self.bias = [bias.clone().requires_grad_() for bias in (pictures, *spread[self.pictures :])]

    @property
    def weights(self) -> list[Tensor]:
        return [self.first, *self.second, *self.bias]

    def __call__(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Answers to neighbourhoods [n, 64, inside] in float32: columns of the images [n, 64, …], and those of the other targets."""
        rows = torch.relu(x.flatten(0, 1) @ self.first.to(x.dtype))
        seen, *rest = rows.split([HIDDEN * self.pictures] + [HIDDEN] * (len(self.tasks) - self.pictures), 1)
        columns = (seen @ (self.second[0] * self.own).to(x.dtype) if self.pictures else seen).float() + self.bias[0]
        others = zip(self.tasks[self.pictures :], rest, self.second[1:], self.bias[1:], strict=True)
        return columns.view(*x.shape[:2], -1), [_predict(t, h, w.to(x.dtype), b, len(x)) for t, h, w, b in others]

    def take(self, other: Readouts, wanted: Tensor) -> None:
        """The other's weights, for targets where `wanted` (bool [targets]) says so."""
        pictures = wanted[: self.pictures]
        wide = torch.tensor([task.channels * SHARP for task in self.tasks[: self.pictures]], dtype=torch.int64)
        columns = pictures.repeat_interleave(wide.to(wanted.device))
        with torch.no_grad():
            hidden = wanted.repeat_interleave(HIDDEN)
            self.first[:, hidden] = other.first[:, hidden]
            self.second[0][:, columns], self.bias[0][columns] = other.second[0][:, columns], other.bias[0][columns]
            for at in (wanted[self.pictures :].nonzero().flatten() + 1).tolist():
                self.second[at].copy_(other.second[at])
                self.bias[at].copy_(other.bias[at])


def _size_output_layer(task: Task) -> tuple[int, int]:
    return HIDDEN * (GRID * GRID if task.kind == "vector" else 1), task.channels * (
        SHARP if task.kind == "pixel classes" else 1
    )


def _spread_prior(task: Task, prior: Tensor) -> Tensor:
    """A bias for every output: 16 pixels for each channel or class, where there are pixels."""
    return prior.repeat_interleave(SHARP) if task.kind in ("image", "pixel classes") else prior


def _predict(task: Task, seen: Tensor, second: Tensor, bias: Tensor, images: int) -> Tensor:
    if task.kind == "classes":
        seen = seen.reshape(images, -1, HIDDEN).mean(1)
    elif task.kind == "vector":
        seen = seen.reshape(images, -1)
    found: Tensor = (seen @ second).float() + bias
    return found.view(images, -1, task.channels, SHARP) if task.kind == "pixel classes" else found


def sum_errors(tasks: Sequence[Task], found: tuple[Tensor, list[Tensor]], truth: Truths) -> list[Tensor]:
    """Of each target, summed over images: squared errors [channels], or negative logarithms of the true classes' chances [1]."""
    wide = [task.channels for task in tasks if task.kind == "image"]
    squares = (found[0] - truth.columns).square().sum((0, 1)).view(-1, SHARP).sum(1).split(wide) if wide else ()
    others = zip(tasks[len(wide) :], found[1], truth.others, strict=True)
    return [*squares, *(_sum_error(task, say, y) for task, say, y in others)]


def _sum_error(task: Task, found: Tensor, truth: Tensor) -> Tensor:
    if task.kind == "vector":
        return (found - truth).square().sum(0)
    if task.kind == "pixel classes":  # classes second: along the last axis this takes five times as long
        found, truth = found.flatten(0, 1), truth.flatten(0, 1)
    return functional.cross_entropy(found, truth, reduction="sum")[None]


def train(tasks: Sequence[Task], x: Tensor, told: Sequence[Tensor], budget: Budget, seed: int) -> Readouts:
    """Readouts of several targets from labelled images: x [n, 64, inside], for each target what `answers` gives.

    The last fifth of the images is not learnt from: each target keeps the weights with the lowest error there.
    """
    fit = len(x) - len(x) // 5
    said = [compute_priors(task, truth[:fit]) for task, truth in zip(tasks, told, strict=True)]
    now, best = (Readouts(tasks, x.shape[2], said, seed) for _ in range(2))
    shares = [compute_reference(t, y[:fit], prior) / fit for t, y, prior in zip(tasks, told, said, strict=True)]
    held = [compute_reference(t, y[fit:], prior) for t, y, prior in zip(tasks, told, said, strict=True)]
    truths = Truths.of(tasks, told)
    lowest = measure_losses(best, x[fit:], truths[slice(fit, None)], held)
    optimiser = torch.optim.AdamW(now.weights, lr=budget.rate, weight_decay=budget.decay, fused=True)
    chance, every = torch.Generator().manual_seed(seed), max(1, budget.steps // budget.looks)
    for step in range(budget.steps):
        optimiser.param_groups[0]["lr"] = budget.rate * 0.5 * (1 + math.cos(math.pi * step / budget.steps))
        rows = torch.randperm(fit, generator=chance)[: budget.batch].to(x.device)
        found = sum_errors(tasks, now(x[rows]), truths[rows])
        fault = torch.stack(
            [average_relative(error, share * len(rows)) for error, share in zip(found, shares, strict=True)]
        ).sum()
        optimiser.zero_grad()
        fault.backward()
        optimiser.step()
        if (step + 1) % every == 0:
            lost = measure_losses(now, x[fit:], truths[slice(fit, None)], held)
            best.take(now, lost < lowest)
            lowest = torch.minimum(lost, lowest)
    return best


def measure_losses(readouts: Readouts, x: Tensor, truths: Truths, known: Sequence[Tensor]) -> Tensor:
    """Errors of every target on images as shares of the reference's, float32 [targets]: 0 is perfect, 1 knows nothing."""
    with torch.no_grad():
        found = sum_errors(readouts.tasks, readouts(x), truths)
        return torch.stack([average_relative(error, r) for error, r in zip(found, known, strict=True)])
