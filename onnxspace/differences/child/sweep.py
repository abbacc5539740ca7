"""Which layers of a network should stay in float: what rounding each alone costs, and the smallest set that keeps the outputs, tried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.open_pair import make_sides, open_located
from onnxspace.differences.child.passes import measure_side
from onnxspace.differences.child.segments import SegmentedRun
from onnxspace.differences.child.sides import Side
from onnxspace.differences.child.switched import SWITCHES, SwitchedLayer, add_switches, find_switched, is_new_enough
from onnxspace.errors import ModelError, describe
from onnxspace.model.runtime import Runner
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.requests import LocatedModel

Advance = Callable[[int], None]
Outputs = list[NDArray[Any]]
#: Layers that are tried, and how many of a set are tried to be rounded after all.
_MOST_LAYERS, _MOST_RETURNED = 2000, 24


@dataclass(frozen=True)
class _Trial:
    """A network with switches, the inputs of images, and the outputs in float; images from `choosing` on are for the choice, those from `testing` on for the test."""

    runner: Runner
    feeds: Sequence[Mapping[str, NDArray[Any]]]
    outputs: Sequence[Outputs]
    layers: int
    choosing: int
    testing: int

    def measure(self, rounded: Collection[int], *, test: bool = False) -> float:
        """|rounded − float| / |float| of the output that is furthest off, over the images of one purpose."""
        places = range(self.testing, len(self.feeds)) if test else range(self.choosing, self.testing)
        mask = np.isin(np.arange(self.layers), list(rounded))
        sums: dict[int, list[float]] = {}
        for place in places:
            for k, (one, two) in enumerate(
                zip(self.outputs[place], self.runner({**self.feeds[place], SWITCHES: mask}), strict=True)
            ):
                if one.dtype.kind == "f":
                    _add(sums.setdefault(k, [0.0, 0.0]), one.astype(np.float64), two.astype(np.float64))
        return max(
            (float(np.sqrt(gap / old)) if old and isfinite(gap) else (0.0 if not gap else inf) for gap, old in sums.values()),
            default=inf,
        )


def _add(sums: list[float], old: NDArray[np.float64], new: NDArray[np.float64]) -> None:
    sums[0] += float(np.square(new - old).sum()) if np.isfinite(new).all() else inf
    sums[1] += float(np.square(old).sum())


def sweep(request: Mapping[str, Any], advance: Advance) -> Mapping[str, Any]:
    """Rank the layers of a model, and choose those that stay in float. Raises ModelError."""
    opened = open_located(LocatedModel(**request["model"]))
    advance(0)
    side = make_sides(opened, opened, map_array(request["images"]))[0]
    if not is_new_enough(side.network):
        raise ModelError(
            f"{side.path} has an operator set below 10, which has no rounding. Convert it with onnx.version_converter."
        )
    measured = replace(side, feeds=side.feeds[: _split(len(side.feeds))[0]])
    signatures = measure_side(measured, SegmentedRun(side.network, side.path, side.feeds[0], side.tensors), advance)
    layers = find_switched(side.graph, signatures)
    if not 0 < len(layers) <= _MOST_LAYERS:
        raise ModelError(
            f"{side.path} has {len(layers)} layers in single precision to round; 1 to {_MOST_LAYERS} can be tried. Give the file in float."
        )
    trial = _prepare(side, layers, str(request["precision"]))
    return {"random": opened.model is None, **_describe(side, layers, _choose(trial, float(request["within"]), advance), trial)}


def _prepare(side: Side, layers: Sequence[SwitchedLayer], precision: str) -> _Trial:
    try:
        runner = Runner(add_switches(side.network, layers, precision))
        none = np.zeros(len(layers), bool)
        outputs = [runner({**feed, SWITCHES: none}) for feed in side.feeds]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{side.path} can't be run with rounded layers ({describe(error)}). Export it again.") from error
    _check_outputs(side.path, outputs)
    return _Trial(runner, side.feeds, outputs, len(layers), *_split(len(side.feeds)))


def _check_outputs(path: str, outputs: Sequence[Outputs]) -> None:
    """Refuse a network without outputs by which rounding can be measured. Raises ModelError."""
    numbers = [one for given in outputs for one in given if one.dtype.kind == "f"]
    if not numbers:
        raise ModelError(
            f"{path} has no output of floating-point numbers, by which rounding is measured. Give the file in float."
        )
    if not all(np.isfinite(one).all() for one in numbers):
        raise ModelError(
            f"{path} has outputs that are not finite before anything is rounded. Give other images with --probe, or state --pixels."
        )


def _split(images: int) -> tuple[int, int]:
    """The first image for the choice, and for the test: half of them are for the ranges of values."""
    first = max(1, images // 2)
    return first, first + max(1, (images - first) // 2)


@dataclass(frozen=True)
class _Choice:
    """The error of each layer rounded alone, and the layers that stay in float."""

    alone: list[float]
    kept: list[int]


def _choose(trial: _Trial, within: float, advance: Advance) -> _Choice:
    """Keep the costliest layers in float, as few as the limit allows, then try to round each of them after all."""
    alone = []
    for k in range(trial.layers):
        alone.append(trial.measure([k]))
        advance(1)
    order = sorted(range(trial.layers), key=lambda k: -alone[k])
    low, high = 0, trial.layers
    while low < high:
        middle = (low + high) // 2
        if trial.measure(order[middle:]) <= within:
            high = middle
        else:
            low = middle + 1
    kept = order[:low]
    for k in kept[::-1][:_MOST_RETURNED]:
        rest = [one for one in kept if one != k]
        if trial.measure([one for one in range(trial.layers) if one not in rest]) <= within:
            kept = rest
    return _Choice(alone, kept)


def _describe(side: Side, layers: Sequence[SwitchedLayer], choice: _Choice, trial: _Trial) -> dict[str, Any]:
    """The answer as JSON: None where an error is not finite. Errors of the whole network are those of the images for the test."""
    every, rest = range(trial.layers), [k for k in range(trial.layers) if k not in choice.kept]
    rows = []
    for k, layer in enumerate(layers):
        node = side.graph.nodes[layer.index]
        name = node.name or next((one for one in node.output if one), "")
        rows.append({"name": name, "op": node.op_type, "alone": _finite(choice.alone[k]), "keep": k in choice.kept})
    return {
        "layers": rows, "all": _finite(trial.measure(every, test=True)), "advised": _finite(trial.measure(rest, test=True)),
        "chosen": _finite(trial.measure(rest)),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
