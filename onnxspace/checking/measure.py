"""Metrics of how far an artifact is from its baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.file_changes import file_changes
from onnxspace.checking.intervals import Interval, interval_of_mean, interval_of_percentile
from onnxspace.checking.measure_outputs import compare_outputs
from onnxspace.checking.measure_signals import compare_encoders, cosine
from onnxspace.checking.observation import Observation
from onnxspace.similarity.fingerprints.count_sketch import affinities
from onnxspace.storage.float16 import widen

Better = Literal["more", "less"]
#: Reasons why a metric has no value.
MAPS_ONLY, NOT_FINITE = "the baseline holds maps only", "its value is not finite"


@dataclass(frozen=True)
class Metric:
    """What a metric measures (`words`), whether `more` or `less` is better, and its default limit; None for no limit."""

    words: str
    better: Better
    limit: float | None


#: Exports of one network and half precision stay well within these limits; `--calibrate` proposes others.
METRICS: Mapping[str, Metric] = {
    "affinity": Metric("mean cosine of attribution maps", "more", 0.98),
    "affinity_p5": Metric("its 5th percentile over images", "more", 0.9),
    "affinity_worst": Metric("its value on the worst image", "more", None),
    "encoder_cosine": Metric("mean cosine of the encoder's outputs", "more", 0.995),
    "encoder_relative": Metric("largest |new − old| / |old| of an image at the encoder", "less", None),
    "encoder_max": Metric("largest difference of any value at the encoder", "less", None),
    "outputs": Metric("share of the baseline's outputs that were compared", "more", 1.0),
    "output_finite": Metric("share of images without NaN and infinity in an output", "more", 1.0),
    "output_cosine": Metric("mean cosine of the outputs, the worst output", "more", 0.995),
    "output_r2": Metric("R² of the outputs over images, the worst output", "more", 0.95),
    "output_relative": Metric("largest |new − old| / |old| of an image's output", "less", None),
    "output_max": Metric("largest difference of any output value", "less", None),
    "top1": Metric("share of images with the same largest output", "more", 0.95),
    "size": Metric("size of the file, new / old", "less", None),
}


@dataclass(frozen=True, eq=False)
class Measures:
    """Metrics of an artifact against its baseline.

    `values` holds metrics by name; `missing` says for others why they have no value. `cosines` float64 [images] are those of
    the maps of each image. `changes` are sentences on how the facts of the files differ. `intervals` are, for metrics that are
    means or shares over images, 95 % intervals of their values on other images.
    """

    values: Mapping[str, float]
    cosines: NDArray[np.float64]
    missing: Mapping[str, str]
    changes: tuple[str, ...]
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def worst(self) -> list[int]:
        """Images by how much the maps differ, most first."""
        return [int(i) for i in np.argsort(self.cosines, kind="stable")]


def measure(new: Observation, old: Observation) -> Measures:
    """Compare the observations of an artifact (`new`) and its baseline (`old`) on the same probe images."""
    missing: dict[str, str] = {}
    intervals: dict[str, Interval] = {}
    cosines = map_cosines(new, old)
    values = _compare_maps(new, old, cosines, intervals)
    values |= compare_encoders(new.encoder, old.encoder, missing, intervals)
    values |= compare_outputs(new, old, missing, intervals)
    if old.facts.of_file:
        values["size"] = new.facts.bytes / old.facts.bytes
    finite = {name: values[name] for name in METRICS if name in values and np.isfinite(values[name])}
    for name in METRICS:
        if name not in finite:
            missing.setdefault(name, NOT_FINITE if name in values else MAPS_ONLY)
    return Measures(finite, cosines, missing, tuple(file_changes(new.facts, old.facts)), intervals)


def _compare_maps(
    new: Observation, old: Observation, cosines: NDArray[np.float64], intervals: dict[str, Interval]
) -> dict[str, float]:
    affinity = _affinity(new, old, cosines)
    intervals["affinity"] = interval_of_mean(cosines, affinity)
    intervals["affinity_p5"] = interval_of_percentile(cosines, 5)
    return {"affinity": affinity, "affinity_p5": float(np.percentile(cosines, 5)), "affinity_worst": float(cosines.min())}


def _affinity(new: Observation, old: Observation, cosines: NDArray[np.float64]) -> float:
    """The affinity; from fingerprints, the estimate over all images, whose error is less than that of the mean of estimates."""
    if new.maps is not None and old.maps is not None:
        return float(cosines.mean())
    return float(affinities(new.prints[None], old.prints[None])[0][0, 0])


def map_cosines(new: Observation, old: Observation) -> NDArray[np.float64]:
    """Cosines of the maps of each image, float64 [images]; estimated from fingerprints where an observation has no maps."""
    if new.maps is not None and old.maps is not None and new.maps.shape == old.maps.shape:
        return np.array([cosine(a, b) for a, b in zip(_widen_rows(new.maps), _widen_rows(old.maps), strict=True)])
    return np.array([cosine(a, b) for a, b in zip(new.prints.astype(float), old.prints.astype(float), strict=True)])


def _widen_rows(maps: NDArray[np.float16]) -> Iterator[NDArray[np.float64]]:
    out = np.empty((1, maps.shape[1]), np.float64)
    for row in range(len(maps)):
        widen(np.asarray(maps[row : row + 1]), out)
        yield out[0].copy()
