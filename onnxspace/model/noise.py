"""What a network itself does when its input moves by rounding: the scale on which a difference from it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from onnxspace.model.graph import Graph
from onnxspace.model.network import Network
from onnxspace.model.runtime import Runner

#: How far inputs are moved, relative to their largest value: some units in the last place of single precision.
MOVE = 1e-6
#: Two right implementations round in every layer, and not only at the input.
SPREAD = 10.0
#: Largest absolute difference of an output of Sigmoid or Softmax that rounding explains, however small the output is.
TAIL = 5e-7
_DRAWS = 3
_BOUNDED = frozenset({"Sigmoid", "Softmax"})
_PASSING = frozenset({
    "Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Slice", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip
_Feed = Mapping[str, Any]


def move_inputs(feed: _Feed, rng: np.random.Generator) -> dict[str, Any]:
    """Move floating-point inputs by up to `MOVE` of their largest value; all others stay."""
    return {name: _move(value, rng) for name, value in feed.items()}


def _move(value: Any, rng: np.random.Generator) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    size = MOVE * np.abs(value[np.isfinite(value)]).max(initial=0)
    return (value + size * rng.uniform(-1, 1, value.shape)).astype(value.dtype)


def measure_noise(network: Network, feed: _Feed, *, levels: bool = False) -> list[float]:
    """How far each output of `network` moves when the inputs `feed`, arrays by name, move by rounding: absolute values.

    `levels` includes the difference between ONNX Runtime's lowest and highest level of optimisation, which round integers at
    different places. 0 for an output that is no array of floating-point numbers or integers of 8 bits. Raises ONNX Runtime's
    own errors.
    """
    runner = Runner(network)
    base = runner(feed)
    others = [runner(move_inputs(feed, np.random.default_rng(seed))) for seed in range(_DRAWS)]
    others += [Runner(network, optimise=True)(feed)] if levels else []
    return [max(_largest_gap(row[k], base[k]) for row in others) for k in range(len(base))]


def _largest_gap(first: Any, second: Any) -> float:
    if not isinstance(first, np.ndarray) or first.shape != second.shape or first.dtype.kind not in "fiu":
        return 0.0
    gap = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return float(gap[np.isfinite(gap)].max(initial=0.0))


def find_tails(graph: Graph) -> list[float]:
    """For each output of `graph`, `TAIL` where it consists of values of Sigmoid or Softmax, else 0."""
    return [TAIL if _is_bounded(graph, name) else 0.0 for name in graph.outputs]


def _is_bounded(graph: Graph, name: str) -> bool:
    waiting, seen, ends = [name], {name}, list[str]()
    while waiting:
        node = graph.nodes[graph.producer[tensor]] if (tensor := waiting.pop()) in graph.producer else onnx.NodeProto()
        if node.op_type not in _PASSING:
            ends.append(node.op_type)
            continue
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        waiting += [source for source in sources if source not in seen]
        seen.update(sources)
    return bool(ends) and _BOUNDED.issuperset(ends)


def allow(network: Network, feeds: Sequence[_Feed], *, levels: bool = False) -> list[float]:
    """The absolute difference of each output of `network` that its own noise on `feeds` explains, at least `find_tails`.

    0 throughout where the network can't be run on moved inputs. `levels` is explained at `measure_noise`.
    """
    tails = find_tails(network.graph)
    try:
        rows = [measure_noise(network, feed, levels=levels) for feed in feeds]
    except Exception:  # ONNX Runtime's errors share no base class; what was not measured allows nothing
        return tails
    return [max(tail, SPREAD * max(values)) for tail, *values in zip(tails, *rows, strict=True)]
