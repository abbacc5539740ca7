"""Which networks are trained: one for each task, and the second group's. And how: the settings that all of them share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

from models.minitaskonomy.tasks import TASKS, Task

MAIN = "residual"
#: The second group: tasks of four kinds, in other architectures and frameworks.
SECOND_TASKS = ("autoencoding", "edges2d", "depth", "semantic")
Framework = Literal["torch", "keras", "jax"]
FRAMEWORKS: dict[str, Framework] = {MAIN: "torch", "convnext": "torch", "mobilenet": "keras", "vit": "jax"}
#: Packages of Python by which a framework is there, as they are imported.
PACKAGES: dict[Framework, tuple[str, ...]] = {
    "keras": ("keras", "tensorflow", "tf2onnx", "h5py"),
    "jax": ("jax", "flax", "optax", "jax2onnx", "safetensors"),
}


@dataclass(frozen=True)
class Job:
    """One network to be trained."""

    task: Task
    architecture: str = MAIN

    @property
    def name(self) -> str:
        """The name of its file: TASK, or TASK-ARCHITECTURE."""
        return self.task.name if self.architecture == MAIN else f"{self.task.name}-{self.architecture}"

    @property
    def framework(self) -> Framework:
        return FRAMEWORKS[self.architecture]

    @property
    def seed(self) -> int:
        """A number that the name determines: no model's chance depends on which others are trained."""
        return zlib.crc32(self.name.encode())


MAIN_JOBS = tuple(Job(task) for task in TASKS.values())
SECOND_JOBS = tuple(Job(TASKS[name], made) for made in FRAMEWORKS if made != MAIN for name in SECOND_TASKS)
JOBS = {job.name: job for job in MAIN_JOBS + SECOND_JOBS}


@dataclass(frozen=True)
class Settings:
    """How a network is trained, the same for every task.

    AdamW with `decay`; its rate rises to `rate` over the first tenth of the steps and falls along a cosine to nothing.
    Images get Gaussian noise, of another standard deviation up to `noise` in each: labels don't mind, and gradients grow
    smoother. `rooms` limits the training images, None for all.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 4e-3
    decay: float = 0.02
    noise: float = 0.05
    rooms: int | None = None


def choose_settings(job: Job) -> Settings:
    """As the study trains: the second group's frameworks are slower on a CPU, and their networks smaller."""
    return Settings() if job.architecture == MAIN else Settings(epochs=12)
