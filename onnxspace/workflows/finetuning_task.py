"""What is learned in a ranking by fine-tuning, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.finetuning.race import FOLDS, Rung
from onnxspace.finetuning.schedule import Schedule
from onnxspace.finetuning.targets import Targets
from onnxspace.inputs.execution import Announce, Progress
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.processors import count_processors

#: The stages of a race: every model for a few epochs, the better ones for longer.
RUNGS = (Rung(3, 1.0), Rung(5, 0.5))
#: Readouts of frozen networks: every model on all folds.
FROZEN_RUNGS = (Rung(1, 1.0, FOLDS),)


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned: `targets` of images, which `decode(size)` writes to a `.npy` file at that size, and their `folds`.

    `data` describes the images in results, `key` identifies images and targets.
    """

    targets: Targets
    folds: np.ndarray[Any, np.dtype[np.intp]]
    decode: Callable[[int], Path]
    data: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class Training:
    """How a ranking by fine-tuning is computed.

    `budget` is its length in seconds (None: what the stages need), `workers` the number of processes (0: a process per core),
    `limits` are those of each, `folder` keeps finished work; where `frozen`, only readouts are fitted; the winner is written to
    `save`, fine-tuned on all images. `known` is a file of results on other datasets, which help to order the models; a `.known`
    file is created where it is missing, and gets this ranking. `threads` are those of all processes together (0: one for each). `announce` is called with the models' records before the work.
    """

    folder: Path
    save: Path | None = None
    schedule: Schedule = field(default_factory=Schedule)
    rungs: Sequence[Rung] = RUNGS
    budget: float | None = None
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    frozen: bool = False
    known: Path | None = None
    progress: Progress | None = None
    limits: Limits | str | None = None
    announce: Announce | None = None
    threads: int = 0

    @property
    def processes(self) -> tuple[int, int]:
        """The number of worker processes, and of the threads of each."""
        count = self.workers or self.threads or count_processors()
        return count, max(1, self.threads // count)

    @property
    def transfer(self) -> str:
        """The kind of transfer, as files of results name it."""
        return "frozen" if self.frozen else "finetuned"
