"""One true fine-tuning: every layer of a source's original network, with the oracle's readout, on the oracle's labelled rooms.

The encoder learns as it was trained and the readout as on frozen encoders: rates and decay of both are those of before.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.minitaskonomy.oracle import examples, readout
from models.minitaskonomy.oracle.examples import Truths
from models.minitaskonomy.oracle.readout import Budget, Readouts
from models.minitaskonomy.oracle.transfers import compute_moments, judge_readouts
from models.minitaskonomy.tasks import Task
from models.minitaskonomy.training.jobs import Settings as Training
from models.minitaskonomy.training.networks import scale

#: Images uint8 [n, 64, 64, 3], and their labels as `examples.arrange_answers` gives them.
Labelled = tuple[NDArray[np.uint8], Tensor]
_CHUNK = 250


@dataclass(frozen=True)
class FineTuning:
    """How readout and encoder are trained: `readout` has the steps and batches of both, and what is the readout's alone."""

    readout: Budget = field(default_factory=lambda: Budget(steps=100))
    rate: float = Training.rate
    decay: float = Training.decay


@dataclass
class Learner:
    """A network in training: the encoder, a fixed scale of its features, the readout."""

    encoder: nn.Module
    centre: Tensor
    spread: Tensor
    readout: Readouts

    @classmethod
    def of(cls, encoder: nn.Module, images: NDArray[np.uint8], task: Task, prior: Tensor, seed: int) -> Learner:
        """With features scaled as on the frozen encoder, and a readout that says at first what is said without looking."""
        own = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
        centre, spread = compute_moments(encode(own, images))
        inside = examples.gather_neighbourhoods(centre.expand(1, -1, examples.GRID, examples.GRID)).shape[2]
        return cls(own, centre, spread, Readouts([task], inside, [prior], seed))

    def rows(self, features: Tensor) -> Tensor:
        """What the readout is given, [n, 64, inside]."""
        return examples.gather_neighbourhoods((features - self.centre) / self.spread)

    def answer(self, images: NDArray[np.uint8]) -> tuple[Tensor, list[Tensor]]:
        """To a batch in training."""
        return self.readout(self.rows(self.encoder(to_network(images))))

    def look(self, images: NDArray[np.uint8]) -> Tensor:
        """Features [n, 48, 8, 8] on which the readout is judged, scaled."""
        return (encode(self.encoder, images) - self.centre) / self.spread


def to_network(images: NDArray[np.uint8]) -> Tensor:
    """Images as the networks take them."""
    return scale(torch.from_numpy(images).permute(0, 3, 1, 2))


def encode(encoder: nn.Module, images: NDArray[np.uint8]) -> Tensor:
    """Features float32 [n, 48, 8, 8], with the running statistics."""
    encoder.eval()
    with torch.no_grad():
        return torch.cat([encoder(to_network(images[at : at + _CHUNK])) for at in range(0, len(images), _CHUNK)])


def measure_loss(encoder: nn.Module, task: Task, few: Labelled, test: Labelled, seed: int, how: FineTuning) -> float:
    """The loss on `test` after learning from `few`, as a share: 1 knows nothing, 0 is perfect."""
    prior = examples.compute_priors(task, few[1])
    best = train(encoder, task, few, seed, how)
    return float(judge_readouts(best.readout, (best.look(test[0]), [test[1]]), [prior], half=False)[0])


def train(encoder: nn.Module, task: Task, few: Labelled, seed: int, how: FineTuning) -> Learner:
    """The weights with the lowest error on the last fifth of the images, which is not learnt from."""
    fit, budget = len(few[0]) - len(few[0]) // 5, how.readout
    prior = examples.compute_priors(task, few[1][:fit])
    now = Learner.of(encoder, few[0], task, prior, seed)
    best, lowest = copy.deepcopy(now), _judge(now, task, few, fit, prior)
    optimiser, chance = _make_optimiser(now, how), torch.Generator().manual_seed(seed)
    share, every = examples.compute_reference(task, few[1][:fit], prior) / fit, max(1, budget.steps // budget.looks)
    truths = Truths.of([task], [few[1]])
    for step in range(budget.steps):
        now.encoder.train()
        _set_rates(optimiser, step, budget.steps)
        rows = torch.randperm(fit, generator=chance)[: budget.batch]
        (error,) = readout.sum_errors([task], now.answer(few[0][rows.numpy()]), truths[rows])
        optimiser.zero_grad()
        examples.average_relative(error, share * len(rows)).backward()
        optimiser.step()
        if (step + 1) % every == 0 and (lost := _judge(now, task, few, fit, prior)) < lowest:
            best, lowest = copy.deepcopy(now), lost
    return best


def _make_optimiser(learner: Learner, how: FineTuning) -> torch.optim.Optimizer:
    groups: Sequence[dict[str, Any]] = (
        {"params": list(learner.encoder.parameters()), "lr": how.rate, "weight_decay": how.decay},
        {"params": learner.readout.weights, "lr": how.readout.rate, "weight_decay": how.readout.decay},
    )
    optimiser = torch.optim.AdamW(groups, fused=True)
    for group in optimiser.param_groups:
        group["highest"] = group["lr"]
    return optimiser


def _set_rates(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """A rise over the first tenth of the steps, then half a cosine down."""
    rise = max(1, steps // 10)
    share = (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
    for group in optimiser.param_groups:
        group["lr"] = share * group["highest"]


def _judge(learner: Learner, task: Task, few: Labelled, fit: int, prior: Tensor) -> float:
    """The error on the images that are not learnt from."""
    rows, truth = examples.gather_neighbourhoods(learner.look(few[0][fit:])), few[1][fit:]
    known = examples.compute_reference(task, truth, prior)
    return float(readout.measure_losses(learner.readout, rows, Truths.of([task], [truth]), [known])[0])
