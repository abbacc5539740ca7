"""Training of networks: on the source part of a task, from scratch on a target's 300 images, and by full fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.realzoo.networks import Network

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Schedule:
    """AdamW with a rate that rises for a tenth of the steps and falls to 0 as a cosine; images shifted by up to `shift` pixels."""

    epochs: int
    batch: int
    rate: float
    decay: float = 0.02
    shift: int = 2
    contrast: float = 0.15

    def rate_at(self, share: float) -> float:
        """The rate where `share` of all steps are done."""
        return self.rate * min(1.0, share / 0.1) * 0.5 * (1 + math.cos(math.pi * share))


def train(network: Network, images: Array, labels: NDArray[np.int64], schedule: Schedule, seed: int) -> None:
    """All weights, in place, batch normalisation in training mode; leaves the network in eval mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = torch.from_numpy(images), torch.from_numpy(np.asarray(labels, np.int64))
    optimiser = torch.optim.AdamW(network.parameters(), schedule.rate, weight_decay=schedule.decay, fused=True)
    steps = schedule.epochs * max(1, len(x) // schedule.batch)
    network.train()
    for step, rows in enumerate(_draw_batches(len(x), schedule, rng)):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at((step + 1) / (steps + 1))
        optimiser.zero_grad(set_to_none=True)
        functional.cross_entropy(network(augment(x[rows], schedule, rng)), y[rows]).backward()
        optimiser.step()
    network.eval()


def _draw_batches(count: int, schedule: Schedule, rng: np.random.Generator) -> Iterator[Tensor]:
    """Full batches only: normalisation needs them."""
    size = min(schedule.batch, count)
    for _ in range(schedule.epochs):
        order = torch.from_numpy(rng.permutation(count))
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def augment(x: Tensor, schedule: Schedule, rng: np.random.Generator) -> Tensor:
    """Each image shifted by itself, its edges repeated, and its contrast changed."""
    side, reach = x.shape[-1], schedule.shift
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    down, across = torch.from_numpy(rng.integers(0, 2 * reach + 1, (2, len(x), 1)))
    places = torch.arange(side)
    rows, columns = down + places, across + places
    shifted = padded[torch.arange(len(x))[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    gain = torch.from_numpy(rng.uniform(1 - schedule.contrast, 1 + schedule.contrast, (len(x), 1, 1, 1)).astype(np.float32))
    mean = shifted.mean((1, 2, 3), keepdim=True)
    return (shifted - mean) * gain + mean


@torch.inference_mode()
def encode(network: Network, images: Array) -> Array:
    """Features, float32 [n, features], of a network in eval mode."""
    network.eval()
    return np.concatenate([network.encode(part).numpy() for part in torch.from_numpy(images).split(200)])


@torch.inference_mode()
def measure_accuracy(network: Network, images: Array, labels: NDArray[np.int64]) -> float:
    """The share of images whose largest logit is the label's."""
    network.eval()
    found = torch.cat([network(part) for part in torch.from_numpy(images).split(200)]).argmax(1).numpy()
    return float((found == labels).mean())
