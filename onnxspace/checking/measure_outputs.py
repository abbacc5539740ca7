"""Metrics of an artifact's outputs against those of its baseline: each output of the baseline counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.intervals import Interval, interval_of_mean, interval_of_share
from onnxspace.checking.measure_signals import (
    NO_VALUES,
    describe_shape,
    drop_unit_axes,
    largest_difference,
    relative_differences,
    signal_cosines,
    squared_differences,
)
from onnxspace.checking.observation import Observation
from onnxspace.checking.values import OPEN, Signal

#: Share of an output's norm below which its variation over images can't be distinguished from rounding.
_STILL = 0.005
_MOST_NAMED = 8


@dataclass(frozen=True)
class Pair:
    """An output of the artifact, the output of the baseline that it is compared with, and their cosines float64 [images]."""

    name: str
    new: Signal
    old: Signal
    cosines: NDArray[np.float64]


@dataclass
class _Paired:
    """The pairs of outputs, and why other outputs of the baseline have no partner."""

    pairs: list[Pair] = field(default_factory=list)
    alone: dict[str, str] = field(default_factory=dict)


def compare_outputs(
    new: Observation, old: Observation, missing: dict[str, str], intervals: dict[str, Interval]
) -> dict[str, float]:
    """Metrics of the outputs; `missing` and `intervals` are completed. Of a baseline that holds maps only, whether they are finite."""
    finite = [float(signal.finite.mean()) for signal in new.outputs.values()]
    if not finite:
        missing["output_finite"] = "no output was computed"
    values = {"output_finite": min(finite)} if finite else {}
    if not (expected := {**old.outputs, **old.unmeasured}):
        return values
    found = _pair_outputs(new, old)
    if found.alone:
        missing["outputs"] = _describe_alone(found.alone)
    return values | {"outputs": len(found.pairs) / len(expected)} | _compare_pairs(found.pairs, missing, intervals)


def _describe_alone(alone: Mapping[str, str]) -> str:
    words = [f"{name} {reason}" for name, reason in alone.items()]
    return "; ".join([*words[:_MOST_NAMED], *([f"and {len(words) - _MOST_NAMED} more"] if len(words) > _MOST_NAMED else [])])


def pair_outputs(new: Observation, old: Observation) -> list[Pair]:
    """The outputs that can be compared: those of one name, and the others in order where there are as many on both sides."""
    return _pair_outputs(new, old).pairs


def _pair_outputs(new: Observation, old: Observation) -> _Paired:
    found = _Paired()
    partners = _partners([*new.outputs, *new.unmeasured], [*old.outputs, *old.unmeasured])
    for name in (*old.outputs, *old.unmeasured):
        mine = partners.get(name)
        reason = old.unmeasured.get(name) or ("is gone" if mine is None else new.unmeasured.get(mine))
        if reason is not None or mine is None:
            found.alone[name] = reason or "is gone"
            continue
        signal, other = new.outputs[mine], old.outputs[name]
        if (cosines := signal_cosines(signal, other)) is None:
            found.alone[name] = f"is {describe_shape(signal)}, not {describe_shape(other)}"
        else:
            found.pairs.append(Pair(name, signal, other, cosines))
    return found


def _partners(new: list[str], old: list[str]) -> dict[str, str]:
    """The new output for each old one."""
    same = {name: name for name in old if name in new}
    rest = [name for name in new if name not in same], [name for name in old if name not in same]
    return {**same, **(dict(zip(rest[1], rest[0], strict=True)) if len(rest[0]) == len(rest[1]) else {})}


def _compare_pairs(pairs: list[Pair], missing: dict[str, str], intervals: dict[str, Interval]) -> dict[str, float]:
    if not pairs:
        reason = "no output could be compared"
        missing |= dict.fromkeys(("output_cosine", "output_r2", "output_relative", "output_max", "top1"), reason)
        return {}
    worst = min(pairs, key=lambda pair: float(pair.cosines.mean()))
    kept = np.array([_r2(pair) for pair in pairs])
    intervals["output_cosine"] = interval_of_mean(worst.cosines)
    intervals["output_r2"] = _interval_of_r2(pairs[int(kept.argmin())])
    values = {
        "output_cosine": float(worst.cosines.mean()),
        "output_r2": float(kept.min()),
        "output_relative": max(float(_relative(pair).max()) for pair in pairs),
    }
    return values | _compare_values(pairs, missing) | _compare_tops(pairs, missing, intervals)


def _relative(pair: Pair) -> NDArray[np.float64]:
    return relative_differences(pair.new.lengths, pair.old.lengths, pair.cosines)


def _compare_values(pairs: list[Pair], missing: dict[str, str]) -> dict[str, float]:
    """The largest difference; nothing where an output has no values, since that of the others says nothing of it."""
    gaps = [largest_difference(pair.new, pair.old) for pair in pairs]
    known = [gap for gap in gaps if gap is not None]
    if len(known) < len(gaps):
        missing["output_max"] = NO_VALUES
        return {}
    return {"output_max": max(known)}


def _compare_tops(pairs: list[Pair], missing: dict[str, str], intervals: dict[str, Interval]) -> dict[str, float]:
    """The share of images with the same largest value of outputs that have a number per class."""
    classes = [pair for pair in pairs if len(sizes := drop_unit_axes(pair.old.shape)) == 1 and sizes != (OPEN,)]
    if not classes:
        missing["top1"] = "no output has a number per class"
        return {}
    share = min(float((pair.new.top == pair.old.top).mean()) for pair in classes)
    if share < 1:
        intervals["top1"] = interval_of_share(share, classes[0].old.images)
    return {"top1": share}


def _r2(pair: Pair) -> float:
    """R² = 1 − Σ|new − old|² / Σ|old − their mean|² over images; the cosine is high for any outputs that hardly vary.

    The denominator has a floor, so that rounding does not dominate it.
    """
    return 1 - float(_squares(pair).sum()) / _spread(pair.old)


def _squares(pair: Pair) -> NDArray[np.float64]:
    return squared_differences(pair.new.lengths, pair.old.lengths, pair.cosines)


def _spread(old: Signal) -> float:
    return max(old.varying + _STILL**2 * float(np.square(old.lengths).sum()), 1e-30)


def _interval_of_r2(pair: Pair) -> Interval:
    """The interval by the squared differences of other images, with the variation of these ones."""
    return interval_of_mean(1 - _squares(pair) * pair.old.images / _spread(pair.old))
