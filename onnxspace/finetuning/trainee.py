"""One network in training: images in batches, steps, results on held-out images, and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxspace.finetuning.pictures import Pictures
from onnxspace.finetuning.schedule import Schedule
from onnxspace.finetuning.targets import Targets, compute_losses
from onnxspace.finetuning.training_graph import TrainingGraph

_FAR = 20.0  # root mean square of features from which a head learns too fast, and below the inverse of which too slowly
_JUDGED = 64  # images per batch outside training
_MOST_BYTES = 2**30  # of the activations of a batch


class Trainee(nn.Module):
    """A training graph with a new linear head on its features, which are scaled only where they are very large or very small.

    Scaling them to one size would train networks otherwise than a user does: the ranking that follows is worse by it (τ .43 for .52).
    """

    def __init__(self, graph: TrainingGraph, outputs: int, pictures: Pictures, seed: int) -> None:
        super().__init__()
        self.graph, self.pictures = graph, pictures
        features = self._measure()
        self.largest_batch = max(2, _MOST_BYTES // max(1, self._count_activations()))
        size = features.square().mean().sqrt().clamp_min(1e-6)
        self.register_buffer("size", size / size.clamp(1 / _FAR, _FAR))
        self.head = nn.Linear(features.shape[1], outputs)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            bound = 1 / math.sqrt(features.shape[1])
            self.head.weight.uniform_(-bound, bound, generator=generator)
            self.head.bias.zero_()

    size: Tensor

    @torch.no_grad()
    def _measure(self) -> Tensor:
        self.graph.eval()
        features: Tensor = self.graph(self.pictures.batch(np.arange(min(len(self.pictures), _JUDGED))))
        return features

    @torch.no_grad()
    def _count_activations(self) -> int:
        """Bytes of all activations of one image, each counted twice: for its gradient."""
        sizes: list[int] = []

        def record(_module: nn.Module, _inputs: object, output: object) -> None:
            sizes.extend(t.nbytes for t in (output if isinstance(output, tuple) else (output,)) if isinstance(t, Tensor))

        hooks = [module.register_forward_hook(record) for module in self.graph.graph.children()]
        self.graph(self.pictures.batch(np.zeros(1, np.intp)))
        for hook in hooks:
            hook.remove()
        return 2 * sum(sizes)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.graph(x) / self.size)
        return answers

    def update_statistics(self, rows: NDArray[np.intp]) -> None:
        """Replace the running statistics of batch normalisation by those of the images `rows`."""
        parts = np.array_split(rows, count_batches(len(rows), min(_JUDGED, self.largest_batch)))
        self.graph.update_statistics(self.pictures.batch(part) for part in parts)

    @torch.no_grad()
    def features(self, rows: NDArray[np.intp]) -> Tensor:
        """The features that the head reads, float32 [images, features], in evaluation mode."""
        self.eval()
        parts = [self.graph(self.pictures.batch(rows[i : i + _JUDGED])) for i in range(0, len(rows), _JUDGED)]
        return torch.cat(parts) / self.size

    @torch.no_grad()
    def answer(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The answers to held-out images, float32 [images, outputs], in evaluation mode."""
        self.eval()
        parts = [self(self.pictures.batch(rows[i : i + _JUDGED])) for i in range(0, len(rows), _JUDGED)]
        return np.asarray(torch.cat(parts).cpu().numpy())


def train_epochs(
    trainee: Trainee, optimiser: torch.optim.Optimizer, targets: Targets, rows: NDArray[np.intp], schedule: Schedule,
    epochs: range, seed: int,
) -> Iterator[float]:  # fmt: skip
    """Train through `epochs` of the schedule on the images `rows`; yields the mean loss of each epoch."""
    wanted = torch.from_numpy(targets.values).to(trainee.head.weight.device)
    used = min(len(rows), schedule.images or len(rows))
    batches = count_batches(used, min(schedule.batch, trainee.largest_batch))
    for epoch in epochs:
        generator = np.random.default_rng((seed, epoch))
        torch.manual_seed(int(generator.integers(2**31)))
        total, order = 0.0, generator.permutation(rows)[:used]
        trainee.train()
        for step, part in enumerate(np.array_split(order, batches)):
            _set_rates(optimiser, schedule, epoch * batches + step, schedule.epochs * batches)
            most = round(schedule.shift * trainee.pictures.side)
            given = trainee(trainee.pictures.shifted(part, most, generator))
            loss = compute_losses(targets.kind, given, wanted[torch.from_numpy(part).to(wanted.device)]).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(part)
        yield total / used


def count_batches(images: int, batch: int) -> int:
    """Number of batches of about `batch` images, of at least two each: batch normalisation needs as many."""
    return max(1, min(round(images / batch), images // 2))


def make_optimiser(trainee: Trainee, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW with a rate for the network and one for the head; only matrices and filters decay."""
    body = [p for p in trainee.graph.parameters() if p.requires_grad]
    scale = schedule.scale_rate(sum(p.numel() for p in body))
    groups = [
        {"params": [p for p in body if p.dim() > 1], "weight_decay": schedule.decay, "base": scale * schedule.rate},
        {"params": [p for p in body if p.dim() <= 1], "weight_decay": 0.0, "base": scale * schedule.rate},
        {"params": list(trainee.head.parameters()), "weight_decay": schedule.decay, "base": scale * schedule.head_rate},
    ]
    return torch.optim.AdamW(groups, lr=schedule.rate, foreach=True)


def _set_rates(optimiser: torch.optim.Optimizer, schedule: Schedule, step: int, steps: int) -> None:
    warm = max(1, round(schedule.warm * steps))
    share = (step + 1) / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * share
