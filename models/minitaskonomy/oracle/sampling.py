"""Settings of the oracle, and the labelled rooms that each seed draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.minitaskonomy.oracle import examples
from models.minitaskonomy.oracle.readout import Budget
from models.minitaskonomy.tasks import TASKS, Task

Array = NDArray[Any]
Readout = Literal["trained", "linear"]


@dataclass(frozen=True)
class Settings:
    """How the oracle is measured. The same settings, files and rooms give the same losses.

    Each of `seeds` draws `labelled` rooms for targets that say something of every pixel, and `images` rooms for those that say
    one thing of an image; the same rooms for every source. `readout` is `trained` (`readout.train`), or `linear`
    (`ridge.measure_losses`), which is for targets whose labels are images.
    """

    seeds: int = 5
    labelled: int = 200
    images: int = 800
    readout: Readout = "trained"
    budget: Budget = field(default_factory=Budget)

    def size(self, task: Task) -> int:
        """How many labelled rooms a target gets."""
        return self.labelled if is_dense(task) else self.images


@dataclass(frozen=True)
class Split:
    """Some rooms of a split: by kind of input uint8 [n, 64, 64, 3], by target its labels as `readout.arrange_answers` gives them."""

    inputs: Mapping[str, Array]
    answers: Mapping[str, Tensor]


def is_dense(task: Task) -> bool:
    """Whether a target says something of every pixel."""
    return task.kind in ("image", "pixel classes")


def name_input(task: Task) -> str:
    """What the networks of a target are given: a copy of the picture that is made for it, or the picture."""
    return task.name if task.name in ("denoising", "inpainting", "colorization") else "picture"


def draw_rooms(seed: int, size: int) -> Array:
    """The labelled rooms of a seed, int64 [size]; a smaller draw begins a larger one. The last fifth checks what the others teach."""
    from models.minitaskonomy.rooms.dataset import SPLITS

    return np.random.default_rng((seed, 20)).permutation(SPLITS["transfer"][1])[:size]


def list_drawn(seeds: int, size: int) -> Array:
    """All rooms of the transfer split that some seed draws, int64, rising."""
    return np.unique(np.concatenate([draw_rooms(seed, size) for seed in range(seeds)]))


@cache
def load_split(work: Path, split: str, targets: tuple[str, ...], rows: tuple[int, ...] | None) -> Split:
    """Some rooms of a split that is rendered, None for all, with labels for all targets."""
    from models.minitaskonomy.rooms.dataset import Rooms, load_moments

    folder = work / "rooms"
    rooms = Rooms(folder / split, split, load_moments(folder / "train"))
    some = slice(None) if rows is None else list(rows)
    tasks = [TASKS[name] for name in targets]
    inputs = {name_input(task): np.ascontiguousarray(rooms.inputs(task)[some].transpose(0, 2, 3, 1)) for task in tasks}
    answers = {task.name: examples.arrange_answers(task, torch.from_numpy(rooms.targets(task)[some])) for task in tasks}
    return Split(inputs, answers)
