"""The trained weights of layers in one form, whichever operator and precision a file stores them in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxspace.differences.child.packed_weights import read_packed
from onnxspace.differences.child.recurrent_weights import RECURRENT, read_recurrent
from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import PARAMETRIC, Graph

Array = NDArray[Any]
#: Where the operators that multiply integers have the scale and the zero point of their weights.
_SCALED = {
    "QLinearConv": (4, 5), "QLinearMatMul": (4, 5), "QGemm": (4, 5), "ConvInteger": (None, 3), "MatMulInteger": (None, 3),
    "DynamicQuantizeMatMul": (2, 3), "MatMulIntegerToFloat": (3, 5),
}  # fmt: skip
_NORMS = frozenset(
    {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "SkipLayerNormalization"}
)
_FOREIGN = frozenset({"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"})
_SIDEWAYS = frozenset(
    {"MatMul", "FusedMatMul", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
)
#: Numbers of an element-wise operator's constant up to which they are a setting, such as the means of colours, and no weights.
_FEW = 4


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer: `rows` [channels, weights per channel] and `bias` [channels] or empty, as numbers.

    `stored` is the type in the file, `step` the largest step between two numbers of it (0 for floating-point numbers), `names` are those of the stored tensors.
    `across` says that channels are the columns of `rows`, as of a normalisation, whose rows are the parameters of `parts`.
    """

    rows: Array
    bias: Array
    stored: str
    step: float
    names: tuple[str, ...]
    across: bool = False
    parts: tuple[str, ...] = ()

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all weights are equal, as of a normalisation before training, so that they tell no layers apart."""
        return bool(self.rows.size and (self.rows == self.rows.flat[0]).all())

    @cached_property
    def digest(self) -> str:
        """A checksum of the weights, equal for all arrangements of them."""
        return hashlib.sha256(
            repr(self.rows.shape).encode() + np.ascontiguousarray(self.rows, np.float32).tobytes()
        ).hexdigest()


def read_layers(graph: Graph, nodes: Iterator[int] | range) -> dict[int, LayerWeights]:
    """The weights of those of `nodes` that have some."""
    return {i: layer for i in nodes if (layer := _read_layer(graph, graph.nodes[i])) is not None}


def _read_layer(graph: Graph, node: NodeProto) -> LayerWeights | None:
    if node.op_type in _NORMS:
        return _read_norm(graph, node)
    if node.op_type in ("Add", "Mul", "Sub", "Div"):
        return _read_factor(graph, node)
    if node.op_type in RECURRENT:
        return _read_gates(graph, node)
    places = (PARAMETRIC[node.op_type], 0) if node.op_type in PARAMETRIC and len(node.input) > 1 else ()
    if node.op_type == "MatMulNBits" and (packed := read_packed(graph, node)) is not None:
        return LayerWeights(packed[0], np.zeros(0), packed[1], packed[2], (_find_stored(graph, node.input[1]),))
    place = next((at for at in places if at < len(node.input) and node.input[at] in graph.constants), None)
    stored = None if place is None else _widen(evaluate(graph, node.input[place], MOST_STEPS))
    if place is None or stored is None or stored.ndim < 2 or not stored.size or stored.dtype.kind not in "fiu":
        return None
    values, step = _dequantise(graph, node, stored)
    rows = _to_rows(node, values, place)
    name = _find_stored(graph, node.input[place])
    return LayerWeights(rows, _read_bias(graph, node, len(rows)), *_describe_type(graph, name, stored, step), (name,))


def _widen(values: Array | None) -> Array | None:
    """Floating-point numbers of a type that NumPy does not have as those of single precision."""
    return values.astype(np.float32) if values is not None and values.dtype.name in _FOREIGN else values


def _to_rows(node: NodeProto, values: Array, place: int) -> Array:
    if node.op_type in ("Gemm", "FusedGemm", "QGemm"):
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return values if transposed else values.T
    if node.op_type in _SIDEWAYS:
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        flat = values.reshape(-1, *values.shape[-2:])
        return np.concatenate([one.T if place and not turned else one for one in flat])
    if node.op_type == "ConvTranspose":
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        parts = values.reshape(max(groups, 1), -1, *values.shape[1:]) if len(values) % max(groups, 1) == 0 else values[None]
        values = parts.swapaxes(1, 2).reshape(-1, *parts.shape[1:2], *values.shape[2:])
    return values.reshape(len(values), -1)


def _read_norm(graph: Graph, node: NodeProto) -> LayerWeights | None:
    """The parameters of a normalisation as one row each: scale, and for a batch normalisation mean and variance."""
    first = 2 if node.op_type == "SkipLayerNormalization" else 1
    places = (first, *(range(3, 5) if node.op_type == "BatchNormalization" else ()))
    found = [evaluate(graph, node.input[at], MOST_STEPS) if at < len(node.input) and node.input[at] else None for at in places]
    rows = [one.reshape(-1) for one in found if one is not None and one.dtype.kind == "f" and one.size]
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    bias = evaluate(graph, node.input[first + 1], MOST_STEPS) if first + 1 < len(node.input) and node.input[first + 1] else None
    flat = np.zeros(0) if bias is None else bias.reshape(-1)
    names = tuple(node.input[at] for at in places if at < len(node.input))
    stored = _describe_type(graph, _find_stored(graph, node.input[first]), rows[0], 0.0)
    parts = ("scale", "mean", "variance")[: len(rows)]
    return LayerWeights(np.stack(rows), flat, *stored, names, across=True, parts=parts)


def _read_gates(graph: Graph, node: NodeProto) -> LayerWeights | None:
    """The weights of a recurrent node, a row per gate and unit."""
    found = read_recurrent(graph, node)
    return None if found is None else LayerWeights(*found, str(found[0].dtype), 0.0, (node.input[1],))


def _read_factor(graph: Graph, node: NodeProto) -> LayerWeights | None:
    """The constant that an element-wise operator adds or multiplies, where it holds several numbers."""
    name = next((name for name in node.input if name in graph.constants), None)
    stored = None if name is None else evaluate(graph, name, MOST_STEPS)
    if name is None or stored is None or stored.size <= _FEW or stored.dtype.kind != "f":
        return None
    held = _find_stored(graph, name)
    return LayerWeights(stored.reshape(1, -1), np.zeros(0), *_describe_type(graph, held, stored, 0.0), (held,), across=True)


def _read_bias(graph: Graph, node: NodeProto, count: int) -> Array:
    place = {"QLinearConv": 8, "DynamicQuantizeMatMul": 4, "QGemm": 6}.get(node.op_type, 2)
    has = (
        node.op_type not in _SIDEWAYS - {"DynamicQuantizeMatMul"} and "Integer" not in node.op_type and len(node.input) > place
    )
    value = evaluate(graph, node.input[place], MOST_STEPS) if has and node.input[place] else None
    if value is None or value.size not in (1, count) or node.op_type in ("QLinearConv", "QGemm"):
        return np.zeros(0)
    return np.broadcast_to(value.reshape(-1), count) if value.size == 1 else value.reshape(-1)


def _dequantise(graph: Graph, node: NodeProto, stored: Array) -> tuple[Array, float]:
    """The weights as numbers, and the step between two of them where the node states it."""
    places = _SCALED.get(node.op_type)
    if places is None or stored.dtype.kind not in "iu":
        return stored, 0.0
    scale, zero = (
        evaluate(graph, node.input[at], MOST_STEPS) if at is not None and at < len(node.input) and node.input[at] else None
        for at in places
    )
    along = [-1, *[1] * (stored.ndim - 1)] if "Conv" in node.op_type else [*[1] * (stored.ndim - 1), -1]
    shifted = stored.astype(np.float32) - (0 if zero is None else _spread(zero.astype(np.float32), along))
    step = float(np.max(np.abs(scale))) if scale is not None and scale.size else 0.0
    return shifted * (1 if scale is None else _spread(scale.astype(np.float32), along)), step


def _spread(values: Array, along: list[int]) -> Array:
    return values.reshape(along) if values.size > 1 else values.reshape(())


def _find_stored(graph: Graph, name: str) -> str:
    """The stored tensor from which a constant is computed."""
    for _ in range(MOST_STEPS):
        if name not in graph.producer:
            break
        node = graph.nodes[graph.producer[name]]
        if node.op_type == "Constant" or not node.input:
            break
        name = node.input[0]
    return name


def _describe_type(graph: Graph, name: str, stored: Array, step: float) -> tuple[str, float]:
    """The type of the stored tensor, and the largest step of what a node computes from integers."""
    held = graph.constant(name)
    kind = str(stored.dtype if held is None else held.dtype)
    if held is not None and held.dtype.kind in "iu" and stored.dtype.kind == "f" and not step:
        step = _find_step(graph, name)
    return kind, step


def _find_step(graph: Graph, name: str) -> float:
    for i in graph.consumers.get(name, []):
        node = graph.nodes[i]
        scale = graph.constant(node.input[1]) if node.op_type == "DequantizeLinear" and len(node.input) > 1 else None
        if scale is not None and scale.size:
            return float(np.max(np.abs(scale.astype(np.float64))))
    return 0.0
