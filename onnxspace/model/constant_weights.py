"""Weights that a graph stores in another arrangement, type or quantisation than its layers take: their shapes and their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.graph import Graph

#: Nodes that may lie between a stored tensor and a layer.
MOST_STEPS = 8
#: What changes the order or the type of weights, but none of them.
_ARRANGING = frozenset({"Cast", "CastLike", "Identity", "Transpose", "Reshape", "DequantizeLinear"})
_MOST_WEIGHTS, _MOST_AXES = 2**24, 8
Array = NDArray[Any]


def find_dims(graph: Graph, name: str, steps: int) -> tuple[int, ...]:
    """The shape of a constant tensor, whose values are not computed; empty where other operators lie above it."""
    if name in graph.weights:
        return graph.weights[name].shape
    if name in graph.initializers:
        return tuple(graph.initializers[name].dims)
    node = graph.nodes[graph.producer[name]] if name in graph.producer and steps else None
    if node is None or name not in graph.constants:
        return ()
    if node.op_type == "Constant":
        return () if (value := graph.constant(name)) is None else value.shape
    below = find_dims(graph, node.input[0], steps - 1) if node.op_type in _ARRANGING and node.input else ()
    if node.op_type == "Transpose":
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), list(range(len(below)))[::-1])
        return tuple(below[k] for k in order) if sorted(order) == list(range(len(below))) else ()
    if node.op_type == "Reshape" and (shape := graph.constant(node.input[1])) is not None and _is_shape(shape):
        return tuple(int(n) for n in shape.reshape(-1))
    return below


def _is_shape(values: Array) -> bool:
    """Whether these are sizes, none of which stands for a size that is kept or computed."""
    return values.size <= _MOST_AXES and values.dtype.kind in "iu" and bool((values.astype(np.int64) > 0).all())


def evaluate(graph: Graph, name: str, steps: int) -> Array | None:
    """The value of a constant tensor behind at most so many nodes; None where it takes other operators."""
    if (stored := graph.constant(name)) is not None:
        return stored
    node = graph.nodes[graph.producer[name]] if name in graph.producer and steps else None
    if node is None or not node.input:
        return None
    value = evaluate(graph, node.input[0], steps - 1)
    return None if value is None or value.size > _MOST_WEIGHTS else _apply(graph, node, value, steps - 1)


def _apply(graph: Graph, node: onnx.NodeProto, value: Array, steps: int) -> Array | None:
    if node.op_type in ("Cast", "CastLike", "Identity"):
        return value
    if node.op_type == "Transpose":
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        fits = order is None or sorted(order) == list(range(value.ndim))
        return value.transpose(order) if fits else None
    others = [evaluate(graph, one, steps) if one else None for one in node.input[1:]]
    if node.op_type == "Reshape" and others and others[0] is not None:
        return _reshape(value, others[0])
    return _dequantise(node, value, others) if node.op_type == "DequantizeLinear" else None


def _reshape(value: Array, shape: Array) -> Array | None:
    try:
        return value.reshape([int(n) for n in shape.reshape(-1)])
    except ValueError:  # zeros stand for sizes that are kept
        return None


def _dequantise(node: onnx.NodeProto, value: Array, others: Sequence[Array | None]) -> Array | None:
    axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 1)
    scale, zero = others[0], others[1] if len(others) > 1 else None
    if scale is None or scale.ndim > 1 or (scale.size > 1 and not -value.ndim <= axis < value.ndim):
        return None
    shape = [-1 if k == axis % value.ndim else 1 for k in range(value.ndim)] if scale.size > 1 else [1] * value.ndim
    try:
        shifted = value.astype(np.float32) - (0 if zero is None else zero.astype(np.float32).reshape(shape))
        return np.asarray(shifted * scale.astype(np.float32).reshape(shape))
    except ValueError:  # sizes that don't fit, which the runtime will refuse
        return None
