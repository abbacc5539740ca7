"""Whether half precision is right and faster for a model: measured on a few of its images, in the process that computes its maps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.explainer import Explainer
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.precision import KeptPrecision, ModelPrecision
from onnxspace.storage.short_text import count

#: Images that are tried, and the least cosine of each one's map with that of float32.
TRIED, LEAST_COSINE = 4, 0.995
#: How many times as fast half precision must be, and how often both are measured, in turn.
LEAST_SPEED, _ROUNDS = 1.05, 3


@dataclass(frozen=True)
class Trial:
    """What half precision does to a model's maps: the least `cosine` with float32, and how many times as fast it is (`speed`)."""

    cosine: float
    speed: float
    images: int

    @property
    def precision(self) -> KeptPrecision:
        """The precision in which maps are computed."""
        return "bf16" if self.cosine >= LEAST_COSINE and self.speed >= LEAST_SPEED else "float32"

    def record(self) -> ModelPrecision:
        """The choice as a result keeps it."""
        return ModelPrecision(self.precision, "auto", self.cosine, self.speed, self.images, self.describe())

    def describe(self) -> str:
        """Why that precision, in one sentence without the model's name.

        >>> Trial(0.998, 1.8, 4).describe()
        'its maps are computed in bf16: on 4 images their cosine with float32 is at least 0.9980, and bf16 is 1.80 × as fast.'
        """
        found = f"on {count(self.images, 'image')} the cosine of bf16 with float32 is at least {self.cosine:.4f}"
        if self.precision == "bf16":
            return (
                f"its maps are computed in bf16: on {count(self.images, 'image')} their cosine with float32 is at least "
                f"{self.cosine:.4f}, and bf16 is {self.speed:.2f} × as fast."
            )
        if self.cosine >= LEAST_COSINE:
            return f"its maps are computed in float32, because bf16 is no faster ({self.speed:.2f} ×); {found}."
        return (
            f"its maps are computed in float32: {found}, {LEAST_COSINE} is required; bf16 is {self.speed:.2f} × as fast here."
        )


def try_half(make: Callable[[Compute], Explainer], compute: Compute, images: NDArray[np.uint8], size: int) -> Trial:
    """Compare maps and speed of bf16 with those of float32, in turn, on the first of `images`, uint8 [images, size, size, 3].

    `make` returns the model's explainer for a `Compute`; `size` is the number of images per pass. Raises Torch's errors.
    """
    chosen = images[: min(TRIED, max(1, size))]
    engines = [make(replace(compute, precision=precision)) for precision in ("float32", "bf16")]
    maps = [_compute(engine, chosen) for engine in engines]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for engine, taken in zip(engines, times, strict=True):
            begin = time.perf_counter()
            _compute(engine, chosen)
            taken.append(time.perf_counter() - begin)
    single, half = (statistics.median(taken) for taken in times)
    return Trial(worst_cosine(*maps), single / half, len(chosen))


def _compute(engine: Explainer, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps on the host, so that a GPU has finished."""
    return engine.to_probe_pixels(engine.compute_maps(engine.prepare_batch(images, len(images)))).maps


def worst_cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the least cosine of the maps of an image in both arrays [images, …]: 1 where both are zero, −1 where one is not finite."""
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (first, second))
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    if not (np.isfinite(lengths[0]).all() and np.isfinite(lengths[1]).all()):
        return -1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (a * b).sum(axis=1) / (lengths[0] * lengths[1])
    empty = (lengths[0] == 0) | (lengths[1] == 0)
    same = (lengths[0] == 0) & (lengths[1] == 0)
    return float(np.where(empty, np.where(same, 1.0, 0.0), cosines).min())


def can_try(device: torch.device) -> bool:
    """Whether a device computes in bf16 by hardware, so that it may be faster."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
