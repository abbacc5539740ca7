"""Metrics of how far an artifact is from its baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.observation import FileFacts, Observation, Signal
from onnxspace.similarity.fingerprints.count_sketch import affinities
from onnxspace.storage.float16 import widen

Better = Literal["more", "less"]


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
    "output_cosine": Metric("mean cosine of the outputs, the worst output", "more", 0.995),
    "output_r2": Metric("R² of the outputs over images, the worst output", "more", 0.95),
    "output_relative": Metric("largest |new − old| / |old| of an image's output", "less", None),
    "output_max": Metric("largest difference of any output value", "less", None),
    "top1": Metric("share of images with the same largest output", "more", 0.95),
    "size": Metric("size of the file, new / old", "less", None),
}


#: Share of an output's norm below which its variation over images can't be distinguished from rounding.
_STILL = 0.005


@dataclass(frozen=True, eq=False)
class Measures:
    """Metrics of an artifact against its baseline.

    `values` holds metrics by name; `missing` says for others why they have no value. `cosines` float64 [images] are those of
    the maps of each image. `changes` are sentences on how the facts of the files differ.
    """

    values: Mapping[str, float]
    cosines: NDArray[np.float64]
    missing: Mapping[str, str]
    changes: tuple[str, ...]

    @property
    def worst(self) -> list[int]:
        """Images by how much the maps differ, most first."""
        return [int(i) for i in np.argsort(self.cosines, kind="stable")]


def measure(new: Observation, old: Observation) -> Measures:
    """Compare the observations of an artifact (`new`) and its baseline (`old`) on the same probe images."""
    cosines = map_cosines(new, old)
    values = {
        "affinity": _affinity(new, old, cosines),
        "affinity_p5": float(np.percentile(cosines, 5)),
        "affinity_worst": float(cosines.min()),
    }
    missing: dict[str, str] = {}
    values |= _compare_encoders(new.encoder, old.encoder, missing)
    values |= _compare_outputs(new, old, missing)
    if old.facts.of_file:
        values["size"] = new.facts.bytes / old.facts.bytes
    else:
        missing["size"] = "the baseline has no facts of its file"
    ordered = {name: values[name] for name in METRICS if name in values and np.isfinite(values[name])}
    return Measures(ordered, cosines, missing, tuple(file_changes(new.facts, old.facts)))


def _affinity(new: Observation, old: Observation, cosines: NDArray[np.float64]) -> float:
    """The affinity; from fingerprints, the estimate over all images, whose error is less than that of the mean of estimates."""
    if new.maps is not None and old.maps is not None:
        return float(cosines.mean())
    return float(affinities(new.prints[None], old.prints[None])[0][0, 0])


def map_cosines(new: Observation, old: Observation) -> NDArray[np.float64]:
    """Cosines of the maps of each image, float64 [images]; estimated from fingerprints where an observation has no maps."""
    if new.maps is not None and old.maps is not None and new.maps.shape == old.maps.shape:
        return np.array([_cosine(a, b) for a, b in zip(_widen_rows(new.maps), _widen_rows(old.maps), strict=True)])
    return np.array([_cosine(a, b) for a, b in zip(new.prints.astype(float), old.prints.astype(float), strict=True)])


def _widen_rows(maps: NDArray[np.float16]) -> Iterator[NDArray[np.float64]]:
    out = np.empty((1, maps.shape[1]), np.float64)
    for row in range(len(maps)):
        widen(np.asarray(maps[row : row + 1]), out)
        yield out[0].copy()


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The cosine; 0 where one vector is zero, 1 where both are."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if length == 0:
        return float(not a.any() and not b.any())
    return float(np.clip(a @ b / length, -1, 1))


def signal_cosines(new: Signal, old: Signal) -> NDArray[np.float64] | None:
    """Cosines of two signals image by image, float64 [images]; None where their shapes don't match in any order of axes."""
    turned = align_rows(new, old)
    if turned is None:
        return None
    rows, others = turned
    return np.array([_cosine(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(rows, others, strict=True)])


def align_rows(new: Signal, old: Signal) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    """The rows of both signals in one order of axes, or their sketches where one has no rows; None where shapes don't match."""
    if new.rows is not None and old.rows is not None:
        if _drop_unit_axes(new.shape) == _drop_unit_axes(old.shape):
            return new.rows, old.rows
        order = _axis_order(_drop_unit_axes(new.shape), _drop_unit_axes(old.shape))
        if order is None:
            return None
        shaped = new.rows.reshape(len(new.rows), *_drop_unit_axes(new.shape)).transpose(0, *(axis + 1 for axis in order))
        return shaped.reshape(len(new.rows), -1), old.rows
    return (new.sketch, old.sketch) if _drop_unit_axes(new.shape) == _drop_unit_axes(old.shape) else None


def _drop_unit_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of size 1."""
    return tuple(size for size in shape if size != 1)


def _axis_order(new: tuple[int, ...], old: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes that moves the channels from front to back, or back to front; None where neither fits."""
    if len(new) != len(old) or len(new) < 2:
        return None
    last, first = (*range(1, len(new)), 0), (len(new) - 1, *range(len(new) - 1))
    return next((order for order in (last, first) if tuple(new[axis] for axis in order) == old), None)


def _compare_encoders(new: Signal | None, old: Signal | None, missing: dict[str, str]) -> dict[str, float]:
    """Metrics at the encoder."""
    if new is None or old is None:
        return {}
    if (found := signal_cosines(new, old)) is None:
        missing["encoder_cosine"] = f"the encoder's output is {_describe_shape(new)}, not {_describe_shape(old)}"
        return {}
    metrics = {
        "encoder_cosine": float(found.mean()),
        "encoder_relative": float(_relative_differences(new.lengths, old.lengths, found).max()),
    }
    return metrics if (largest := _largest_difference(new, old)) is None else {**metrics, "encoder_max": largest}


def _largest_difference(new: Signal, old: Signal) -> float | None:
    """The largest difference of any value; None where one signal is a sketch only."""
    if new.rows is None or old.rows is None or (both := align_rows(new, old)) is None:
        return None
    return float(np.abs(both[0] - both[1]).max())


def _compare_outputs(new: Observation, old: Observation, missing: dict[str, str]) -> dict[str, float]:
    """Metrics of the outputs, paired by name, or by order where the names differ and the numbers are equal."""
    pairs = _pair_outputs(new.outputs, old.outputs)
    if not pairs:
        missing["output_cosine"] = "the outputs don't match, or can't be computed image by image"
        return {}
    cosines, kept_shares, relative, largest, tops = [], [], [], [], []
    for mine, theirs in pairs:
        if (found := signal_cosines(mine, theirs)) is None:
            missing["outputs"] = f"one is {_describe_shape(mine)}, not {_describe_shape(theirs)}"
            cosines.append(0.0)  # another shape is another output, which must fail the check
            continue
        cosines.append(float(found.mean()))
        kept_shares.append(_r2(mine, theirs, found))
        relative.append(float(_relative_differences(mine.lengths, theirs.lengths, found).max()))
        if (gap := _largest_difference(mine, theirs)) is not None:
            largest.append(gap)
        if len(_drop_unit_axes(mine.shape)) == 1:
            tops.append(float((mine.top == theirs.top).mean()))
    kept = {
        "output_cosine": (cosines, min),
        "output_r2": (kept_shares, min),
        "output_relative": (relative, max),
        "output_max": (largest, max),
        "top1": (tops, min),
    }
    return {name: float(worst(values)) for name, (values, worst) in kept.items() if values}


def _r2(new: Signal, old: Signal, cosines: NDArray[np.float64]) -> float:
    """R² = 1 − Σ|new − old|² / Σ|old − their mean|² over images; the cosine is high for any outputs that hardly vary.

    The denominator has a floor, so that rounding does not dominate it.
    """
    floor = _STILL**2 * float(np.square(old.lengths).sum())
    return 1 - float(_squared_differences(new.lengths, old.lengths, cosines).sum()) / max(old.varying + floor, 1e-30)


def _squared_differences(
    new: NDArray[np.float64], old: NDArray[np.float64], cosines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """|new − old|² from lengths and the angle between them."""
    return np.asarray(np.maximum(np.square(new) + np.square(old) - 2 * new * old * cosines, 0))


def _relative_differences(
    new: NDArray[np.float64], old: NDArray[np.float64], cosines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """|new − old| / |old|."""
    return np.asarray(np.sqrt(_squared_differences(new, old, cosines)) / np.maximum(old, 1e-30))


def _pair_outputs(new: Mapping[str, Signal], old: Mapping[str, Signal]) -> list[tuple[Signal, Signal]]:
    if set(new) & set(old):
        return [(new[name], old[name]) for name in old if name in new]
    return list(zip(new.values(), old.values(), strict=True)) if len(new) == len(old) else []


def _describe_shape(signal: Signal) -> str:
    return "×".join(map(str, signal.shape)) or "one value"


def file_changes(new: FileFacts, old: FileFacts) -> Iterator[str]:
    """How the facts of two files differ, a sentence each: inputs, outputs, opset, producer, parameters, operators."""
    if not old.of_file:
        return
    for what in ("inputs", "outputs"):
        yield from _signature_changes(what[:-1], getattr(new, what), getattr(old, what))
    if new.opset != old.opset:
        yield f"opset {old.opset} became {new.opset}"
    if new.producer != old.producer:
        yield f"the producer {old.producer or 'unknown'} became {new.producer or 'unknown'}"
    if new.parameters != old.parameters:
        yield f"{old.parameters:,} parameters became {new.parameters:,}"
    counted = sorted({*new.operators, *old.operators})
    moved = [f"{name} {old.operators.get(name, 0)} → {new.operators.get(name, 0)}" for name in counted
             if new.operators.get(name, 0) != old.operators.get(name, 0)]  # fmt: skip
    if moved:
        more = f" and {len(moved) - 8} more" if len(moved) > 8 else ""
        yield f"operators: {', '.join(moved[:8])}{more}"


def _signature_changes(what: str, new: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    if list(new.values()) == list(old.values()) and list(new) != list(old):
        yield f"{what}s are named {', '.join(new)} instead of {', '.join(old)}"
        return
    for name in {**old, **new}:
        if name not in new:
            yield f"{what} {name} ({old[name]}) was removed"
        elif name not in old:
            yield f"{what} {name} ({new[name]}) is new"
        elif new[name] != old[name]:
            yield f"{what} {name} is {new[name]} instead of {old[name]}"
