"""How far an artifact is from its baseline, in numbers."""

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
    """What a measure is, and which way it gets worse: `least` is what a limit on it is where nobody says another."""

    words: str
    better: Better
    limit: float | None


#: The limits hold for exports of one network and half precision, with room; `--calibrate` proposes others.
METRICS: Mapping[str, Metric] = {
    "affinity": Metric("mean cosine of attribution maps", "more", 0.98),
    "affinity_p5": Metric("its 5th percentile over images", "more", 0.9),
    "affinity_worst": Metric("its value on the worst image", "more", None),
    "encoder_cosine": Metric("mean cosine of the encoder's outputs", "more", 0.995),
    "encoder_relative": Metric("largest |new − old| / |old| of an image at the encoder", "less", None),
    "encoder_max": Metric("largest difference of any value at the encoder", "less", None),
    "output_cosine": Metric("mean cosine of the outputs, the worst output", "more", 0.995),
    "output_r2": Metric("share of what varies in the outputs over images that is kept, the worst output", "more", 0.95),
    "output_relative": Metric("largest |new − old| / |old| of an image's output", "less", None),
    "output_max": Metric("largest difference of any output value", "less", None),
    "top1": Metric("share of images with the same largest output", "more", 0.95),
    "size": Metric("size of the file, new / old", "less", None),
}


#: Share of an output's own size below which what varies over images is not told from rounding.
_STILL = 0.005


@dataclass(frozen=True, eq=False)
class Measures:
    """`values` by the name of a metric; a metric that can't be had is missing, and `missing` says why.

    `cosines` is float64 [images]: how alike the maps of each image are. `changes` are sentences on what the files say.
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
    """Compare two observations of the same probe images, as far as both are known."""
    cosines = map_cosines(new, old)
    values = {
        "affinity": _affinity(new, old, cosines),
        "affinity_p5": float(np.percentile(cosines, 5)),
        "affinity_worst": float(cosines.min()),
    }
    missing: dict[str, str] = {}
    values |= _encoders(new.encoder, old.encoder, missing)
    values |= _outputs(new, old, missing)
    if old.facts.of_file:
        values["size"] = new.facts.bytes / old.facts.bytes
    else:
        missing["size"] = "nothing is known of the old file but its model"
    ordered = {name: values[name] for name in METRICS if name in values and np.isfinite(values[name])}
    return Measures(ordered, cosines, missing, tuple(changes(new.facts, old.facts)))


def _affinity(new: Observation, old: Observation, cosines: NDArray[np.float64]) -> float:
    """Of prints, the estimate with the smaller error rather than the mean of single images'."""
    if new.maps is not None and old.maps is not None:
        return float(cosines.mean())
    return float(affinities(new.prints[None], old.prints[None])[0][0, 0])


def map_cosines(new: Observation, old: Observation) -> NDArray[np.float64]:
    """Cosines of the maps image by image, float64 [images]: of the maps themselves where both are there, else of prints."""
    if new.maps is not None and old.maps is not None and new.maps.shape == old.maps.shape:
        return np.array([_cosine(a, b) for a, b in zip(_wide(new.maps), _wide(old.maps), strict=True)])
    return np.array([_cosine(a, b) for a, b in zip(new.prints.astype(float), old.prints.astype(float), strict=True)])


def _wide(maps: NDArray[np.float16]) -> Iterator[NDArray[np.float64]]:
    out = np.empty((1, maps.shape[1]), np.float64)
    for row in range(len(maps)):
        widen(np.asarray(maps[row : row + 1]), out)
        yield out[0].copy()


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """0 where one is zero, as everywhere; 1 where both are: nothing has changed."""
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if length == 0:
        return float(not a.any() and not b.any())
    return float(np.clip(a @ b / length, -1, 1))


def signal_cosines(new: Signal, old: Signal) -> NDArray[np.float64] | None:
    """Cosines of what two networks give for each image, float64 [images]; None where shapes don't fit.

    Where only the axes are in another order and the values are there, they are put into the same.
    """
    turned = aligned(new, old)
    if turned is None:
        return None
    rows, others = turned
    return np.array([_cosine(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(rows, others, strict=True)])


def aligned(new: Signal, old: Signal) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    """The rows of both in the same order of axes, or their sketches where one has no rows."""
    if new.rows is not None and old.rows is not None:
        if _plain(new.shape) == _plain(old.shape):
            return new.rows, old.rows
        order = _order(_plain(new.shape), _plain(old.shape))
        if order is None:
            return None
        shaped = new.rows.reshape(len(new.rows), *_plain(new.shape)).transpose(0, *(axis + 1 for axis in order))
        return shaped.reshape(len(new.rows), -1), old.rows
    return (new.sketch, old.sketch) if _plain(new.shape) == _plain(old.shape) else None


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of one value, which say nothing."""
    return tuple(size for size in shape if size != 1)


def _order(new: tuple[int, ...], old: tuple[int, ...]) -> tuple[int, ...] | None:
    """Channels moved from the front to the back or the other way; None for anything else."""
    if len(new) != len(old) or len(new) < 2:
        return None
    last, first = (*range(1, len(new)), 0), (len(new) - 1, *range(len(new) - 1))
    return next((order for order in (last, first) if tuple(new[axis] for axis in order) == old), None)


def _encoders(new: Signal | None, old: Signal | None, missing: dict[str, str]) -> dict[str, float]:
    """Measures at the encoder."""
    if new is None or old is None:
        return {}
    if (found := signal_cosines(new, old)) is None:
        missing["encoder_cosine"] = f"the encoder gives {_shape(new)}, not {_shape(old)}"
        return {}
    made = {"encoder_cosine": float(found.mean()), "encoder_relative": float(_relative(new.lengths, old.lengths, found).max())}
    return made if (largest := _largest(new, old)) is None else {**made, "encoder_max": largest}


def _largest(new: Signal, old: Signal) -> float | None:
    """The largest difference of any value; None where one of them is no more than a sketch."""
    if new.rows is None or old.rows is None or (both := aligned(new, old)) is None:
        return None
    return float(np.abs(both[0] - both[1]).max())


def _outputs(new: Observation, old: Observation, missing: dict[str, str]) -> dict[str, float]:
    """Measures of the outputs: paired by name, or by their order where names differ and there are as many."""
    pairs = _paired(new.outputs, old.outputs)
    if not pairs:
        missing["output_cosine"] = "the outputs are others, or can't be run image by image"
        return {}
    cosines, kept_shares, relative, largest, tops = [], [], [], [], []
    for mine, theirs in pairs:
        if (found := signal_cosines(mine, theirs)) is None:
            missing["outputs"] = f"one is {_shape(mine)}, not {_shape(theirs)}"
            cosines.append(0.0)  # another shape is another answer, and not one that nobody asked for
            continue
        cosines.append(float(found.mean()))
        kept_shares.append(_r2(mine, theirs, found))
        relative.append(float(_relative(mine.lengths, theirs.lengths, found).max()))
        if (gap := _largest(mine, theirs)) is not None:
            largest.append(gap)
        if len(_plain(mine.shape)) == 1:
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
    """1 − Σ|new − old|² / Σ|old − their mean|² over images: cosines of what hardly varies are high whatever a network says.

    The denominator has a floor, since rounding would count for much without one.
    """
    floor = _STILL**2 * float(np.square(old.lengths).sum())
    return 1 - float(_squared(new.lengths, old.lengths, cosines).sum()) / max(old.varying + floor, 1e-30)


def _squared(new: NDArray[np.float64], old: NDArray[np.float64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """|new − old|² from lengths and the angle between them."""
    return np.asarray(np.maximum(np.square(new) + np.square(old) - 2 * new * old * cosines, 0))


def _relative(new: NDArray[np.float64], old: NDArray[np.float64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """|new − old| / |old|."""
    return np.asarray(np.sqrt(_squared(new, old, cosines)) / np.maximum(old, 1e-30))


def _paired(new: Mapping[str, Signal], old: Mapping[str, Signal]) -> list[tuple[Signal, Signal]]:
    if set(new) & set(old):
        return [(new[name], old[name]) for name in old if name in new]
    return list(zip(new.values(), old.values(), strict=True)) if len(new) == len(old) else []


def _shape(signal: Signal) -> str:
    return "×".join(map(str, signal.shape)) or "one value"


def changes(new: FileFacts, old: FileFacts) -> Iterator[str]:
    """What the files say differently, a sentence each: inputs, outputs, opset, producer, operators, parameters."""
    if not old.of_file:
        return
    for what in ("inputs", "outputs"):
        yield from _renamed(what[:-1], getattr(new, what), getattr(old, what))
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


def _renamed(what: str, new: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    if list(new.values()) == list(old.values()) and list(new) != list(old):
        yield f"{what}s are called {', '.join(new)} instead of {', '.join(old)}"
        return
    for name in {**old, **new}:
        if name not in new:
            yield f"{what} {name} ({old[name]}) is gone"
        elif name not in old:
            yield f"{what} {name} ({new[name]}) is new"
        elif new[name] != old[name]:
            yield f"{what} {name} is {new[name]} instead of {old[name]}"
