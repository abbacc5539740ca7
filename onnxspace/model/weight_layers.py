"""The trained layers of a graph, as they are compared with those of another export of the same network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.weight_sketch import LARGEST, MOST_LAYERS, MOST_ROWS, LayerSketch, WeightSketch, project_rows
from onnxspace.model.constant_weights import MOST_STEPS, evaluate, find_dims
from onnxspace.model.graph import PARAMETRIC, Graph
from onnxspace.model.pixel_tensors import find_trunk

#: Layers whose rows of weights are compared; others count in the architecture only.
_ROWS = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "QLinearConv", "ConvInteger", "NhwcConv", "NhwcFusedConv"})
#: What may stand in front of the first layer and change no value of a pixel.
_KEEPING = frozenset(
    {"Cast", "CastLike", "Flatten", "Identity", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Constant"}
)
_MOST_FRONT = 32
Array = NDArray[Any]


def sketch_weights(graph: Graph, image: str) -> WeightSketch:
    """Sketch the layers between the input `image` and the outputs. Never raises: what can't be read tells nothing."""
    try:
        return _sketch(graph, image)
    except Exception:  # of a damaged graph, which is refused in words when it is converted
        return WeightSketch("")


def _sketch(graph: Graph, image: str) -> WeightSketch:
    trunk = find_trunk(graph, image)
    layers = [i for i in trunk if graph.nodes[i].op_type in PARAMETRIC and graph.is_parametric(i)]
    if not layers:
        return WeightSketch("")
    front = _describe_front(graph, image, layers[0])
    shapes = sorted(_shape_of(graph, graph.nodes[i]) for i in layers)
    architecture = hashlib.sha256(repr((front, shapes)).encode()).hexdigest()[:16]
    rows = [(i, read) for i in layers[:MOST_LAYERS] if (read := _read_rows(graph, graph.nodes[i])) is not None]
    effect = _measure_effect(graph, graph.nodes[layers[0]], rows[0][1]) if rows and rows[0][0] == layers[0] else ()
    sketches = tuple(LayerSketch(len(read), int(read.shape[1]), project_rows(_choose_rows(read))) for _, read in rows)
    return WeightSketch(architecture, front, effect, sketches)


def _choose_rows(read: Array) -> NDArray[np.float64]:
    places = np.unique(np.linspace(0, len(read) - 1, min(MOST_ROWS, len(read))).round().astype(int))
    return np.asarray(read[places], np.float64)


def _shape_of(graph: Graph, node: onnx.NodeProto) -> tuple[int, ...]:
    """Output channels and weights per channel; for other layers than convolutions in ascending order, as exporters transpose them."""
    named = (node.input[PARAMETRIC[node.op_type]], node.input[0])
    dims = next((found for name in named if (found := find_dims(graph, name, MOST_STEPS))), ())
    if node.op_type in _CONVOLUTIONS and len(dims) > 2 and np.prod(dims[2:]) > 1:
        return (int(dims[0]), int(np.prod(dims[1:])))
    return tuple(sorted(int(n) for n in dims if n > 1))


def _find_weight(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """The constant operand of a layer, computed where only its arrangement, type or quantisation is."""
    for name in (node.input[PARAMETRIC[node.op_type]], node.input[0]):
        if name in graph.constants and (found := evaluate(graph, name, MOST_STEPS)) is not None:
            return found
    return None


def _read_rows(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """The weights of a layer, [channels, weights per channel]; None for other layers."""
    weight = _find_weight(graph, node) if node.op_type in _ROWS else None
    if weight is None or weight.dtype.kind != "f" or weight.ndim < 2 or weight.size == 0:
        return None
    if node.op_type in _CONVOLUTIONS:
        return weight.reshape(len(weight), -1)
    if node.op_type in ("Gemm", "FusedGemm"):
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return (weight if transposed else weight.T) if weight.ndim == 2 else None
    right = node.input[1] in graph.constants
    return (weight.T if right else weight) if weight.ndim == 2 else None


def _describe_front(graph: Graph, image: str, first: int) -> str:
    """The arithmetic between the image and the first layer: operators with their constants; empty where there is none."""
    between = graph.ancestors_of([graph.nodes[first].input[0]]) & graph.descendants_of(image)
    nodes = [graph.nodes[i] for i in sorted(between) if graph.nodes[i].op_type not in _KEEPING]
    words = [" ".join((node.op_type, *_describe_constants(graph, node))) for node in nodes[:_MOST_FRONT]]
    text = "; ".join([*words, *([str(len(nodes))] if len(nodes) > _MOST_FRONT else [])])
    return text if len(text) <= 200 else hashlib.sha256(text.encode()).hexdigest()


def _describe_constants(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    for name in node.input:
        value = graph.constant(name) if name else None
        if value is not None and value.dtype.kind in "fiu":
            yield ",".join(f"{float(one):.3g}" for one in value.reshape(-1)[:8])


def _measure_effect(graph: Graph, node: onnx.NodeProto, rows: Array) -> tuple[tuple[float, float], ...]:
    """Length of the weights and bias of some channels of a layer, with what scales and shifts its channels behind it."""
    count = len(rows)
    gain, offset = np.ones(count), _read_bias(graph, node, count)
    name = node.output[0]
    for _ in range(MOST_STEPS):
        users = [graph.nodes[i] for i in graph.consumers.get(name, [])]
        step = _read_step(graph, users[0], name, count) if len(users) == 1 else None
        if step is None:
            break
        gain, offset, name = gain * step[0], offset * step[0] + step[1], users[0].output[0]
    lengths = np.linalg.norm(_choose_rows(rows), axis=1)
    chosen = zip(lengths * np.abs(_choose_rows(gain)), _choose_rows(offset), strict=True)
    pairs = [(float(f"{a:.5g}"), float(f"{b:.5g}")) for a, b in chosen]
    return tuple(pairs) if (np.abs(pairs) <= LARGEST).all() else ()  # nor NaN


def _read_bias(graph: Graph, node: onnx.NodeProto, count: int) -> NDArray[np.float64]:
    has_bias = "MatMul" not in node.op_type and len(node.input) > 2 and node.input[2]
    value = evaluate(graph, node.input[2], MOST_STEPS) if has_bias else None
    return np.zeros(count) if value is None else _per_channel(value, count, np.zeros(count))


def _per_channel(value: Array, count: int, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    fits = value.size in (1, count) and value.dtype.kind in "fiu"
    return np.broadcast_to(value.astype(np.float64).reshape(-1), (count,)).copy() if fits else otherwise


def _read_step(
    graph: Graph, node: onnx.NodeProto, name: str, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Factor and summand per channel of a node that scales and shifts channels by constants; None for any other."""
    if node.op_type == "BatchNormalization":
        parts = [evaluate(graph, one, MOST_STEPS) for one in node.input[1:5]]
        return _read_norm(node, parts, count)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    value = evaluate(graph, node.input[1 if node.input[0] == name else 0], MOST_STEPS)
    if value is None or value.size not in (1, count) or (node.op_type in ("Sub", "Div") and node.input[0] != name):
        return None
    number, one, zero = _per_channel(value, count, np.ones(count)), np.ones(count), np.zeros(count)
    if node.op_type in ("Add", "Sub"):
        return one, number if node.op_type == "Add" else -number
    return (number if node.op_type == "Mul" else 1 / np.where(number == 0, np.inf, number)), zero


def _read_norm(
    node: onnx.NodeProto, parts: Sequence[Array | None], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    read = [np.asarray(part, np.float64).reshape(-1) for part in parts if part is not None]
    if len(read) != 4 or any(one.size != count for one in read):
        return None
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    scale, bias, mean, variance = read
    factor = scale / np.sqrt(np.maximum(variance, 0) + max(epsilon, 1e-12))
    return factor, bias - mean * factor
