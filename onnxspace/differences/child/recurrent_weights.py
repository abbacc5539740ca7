"""The weights of recurrent layers: for each gate those of the input and of the state, and both biases added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import Graph

Array = NDArray[Any]
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
#: The most inputs of a concatenation, and the most weights.
_MOST_PARTS, _MOST_WEIGHTS = 16, 2**24


def read_recurrent(graph: Graph, node: NodeProto) -> tuple[Array, Array] | None:
    """The weights [directions · gates, inputs + states] and the biases [directions · gates] of a recurrent node, None where they are not stored."""
    parts = [_compute(graph, name, MOST_STEPS) for name in node.input[1:3]]
    found = [part for part in parts if part is not None and part.ndim == 3 and part.dtype.kind == "f"]
    if len(found) != 2 or found[0].shape[:2] != found[1].shape[:2]:
        return None
    rows = np.concatenate(found, axis=2)
    rows = rows.reshape(-1, rows.shape[2])
    bias = _compute(graph, node.input[3], MOST_STEPS) if len(node.input) > 3 and node.input[3] else None
    return rows, np.zeros(0) if bias is None or bias.size != 2 * len(rows) else _add_biases(bias, len(found[0]))


def _add_biases(bias: Array, directions: int) -> Array:
    """The biases of the input and of the state, added."""
    return np.asarray(bias.reshape(directions, 2, -1).sum(1).reshape(-1))


def _compute(graph: Graph, name: str, steps: int) -> Array | None:
    """A constant that exporters put together of parts of stored tensors; None where it takes other operators."""
    if not name or name not in graph.constants:
        return None
    if (value := evaluate(graph, name, MOST_STEPS)) is not None:
        return value
    node = graph.nodes[graph.producer[name]] if name in graph.producer and steps else None
    if node is None or not 0 < len(node.input) <= _MOST_PARTS:
        return None
    values = [_compute(graph, one, steps - 1) for one in node.input if one]
    known = [value for value in values if value is not None]
    small = len(known) == len(values) and sum(value.size for value in known) <= _MOST_WEIGHTS
    return _apply(node, known) if small else None


def _apply(node: NodeProto, values: Sequence[Array]) -> Array | None:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    try:
        if node.op_type == "Concat":
            return np.concatenate(values, axis=attributes["axis"])
        if node.op_type == "Unsqueeze" and len(values) == 2:
            return np.expand_dims(values[0], tuple(values[1].reshape(-1).tolist()))
        return _slice(values) if node.op_type == "Slice" and len(values) in (4, 5) else None
    except (ValueError, IndexError, KeyError, TypeError):  # a broken graph, which ONNX Runtime refuses in its own words
        return None


def _slice(values: Sequence[Array]) -> Array:
    starts, ends, axes = (one.reshape(-1).tolist() for one in values[1:4])
    steps = values[4].reshape(-1).tolist() if len(values) == 5 else [1] * len(axes)
    places = dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))
    return np.asarray(values[0][tuple(slice(*places.get(axis, (None,))) for axis in range(values[0].ndim))])
