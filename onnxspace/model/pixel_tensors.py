"""Tensors of a graph that tell which pixels it was trained with: quantised, normalised, or those of its first layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from onnxspace.model.graph import SHAPE_ONLY, Graph
from onnxspace.model.pixel_parts import Tensor
from onnxspace.model.pixel_statistics import ChannelStatistics

#: The least stored variance of a channel that any image has changed.
LIVE = 1e-8
#: Layers below a normalisation: behind more of them, activations hide which range came in.
_MOST_BELOW = 2
_MERGED_LAYERS = 3
_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
_MOVING = frozenset({"Cast", "Identity", "Transpose", "Pad"})
_LONGEST_CHAIN = 16


@dataclass(frozen=True)
class StoredStatistics:
    """The running statistics of a batch normalisation, `name`, of the channels of `tensor`; `below` layers lie below it."""

    name: str
    tensor: Tensor
    stored: ChannelStatistics
    below: int


def find_stored_statistics(graph: Graph, image: str) -> list[StoredStatistics]:
    """Batch normalisations of the trunk with constant statistics, behind at most two trained layers, in topological order."""
    trunk = find_trunk(graph, image)
    layers = {i for i in trunk if graph.is_parametric(i)}
    found = []
    for i in trunk:
        node = graph.nodes[i]
        stored = _read_statistics(graph, node)
        below = len(graph.ancestors_of([node.input[0]]) & layers) if stored else 0
        if stored and below <= _MOST_BELOW:
            found.append(StoredStatistics(node.name or node.output[0], Tensor(node.input[0]), stored, below))
    return found


def _read_statistics(graph: Graph, node: onnx.NodeProto) -> ChannelStatistics | None:
    """Running mean and variance of a node; None for other operators, and for statistics that no training has changed."""
    if node.op_type != "BatchNormalization" or len(node.input) < 5:
        return None
    mean, variance = graph.constant(node.input[3]), graph.constant(node.input[4])
    if mean is None or variance is None:
        return None
    read = ChannelStatistics(np.asarray(mean, np.float64), np.asarray(variance, np.float64))
    trained = read.mean.any() or (read.variance != 1).any()
    usable = np.isfinite(read.mean).all() and np.isfinite(read.variance).all() and (read.variance > LIVE).any()
    return read if trained and usable else None


def find_first_layers(graph: Graph, image: str) -> list[Tensor]:
    """The outputs of the first three trained layers in floating point, with their biases."""
    layers = [i for i in find_trunk(graph, image) if graph.nodes[i].op_type in _LAYERS and graph.is_parametric(i)]
    return [_with_bias(graph, graph.nodes[i]) for i in layers[:_MERGED_LAYERS]]


def _with_bias(graph: Graph, node: onnx.NodeProto) -> Tensor:
    """A layer's output, after the addition of a constant per channel where that is its only reader."""
    name, axis = node.output[0], 1 if "Conv" in node.op_type else -1
    users = [graph.nodes[i] for i in graph.consumers.get(name, [])]
    if (
        len(users) == 1
        and users[0].op_type == "Add"
        and any(_is_bias(graph, other) for other in users[0].input if other != name)
    ):
        return Tensor(users[0].output[0], axis)
    return Tensor(name, axis)


def _is_bias(graph: Graph, name: str) -> bool:
    value = graph.constant(name)
    return value is not None and value.size == max(value.shape, default=1)


def find_quantised_range(graph: Graph, image: str) -> tuple[float, float] | None:
    """The range of values that the quantiser of a floating-point image covers; None where a graph has none."""
    name = image
    for _ in range(_LONGEST_CHAIN):
        users = [graph.nodes[i] for i in graph.consumers.get(name, []) if graph.nodes[i].op_type not in SHAPE_ONLY]
        if len(users) != 1 or users[0].op_type not in {*_MOVING, "QuantizeLinear"}:
            return None
        if users[0].op_type == "QuantizeLinear":
            return _read_quantiser(graph, users[0])
        name = users[0].output[0]
    return None


def _read_quantiser(graph: Graph, node: onnx.NodeProto) -> tuple[float, float] | None:
    scale = graph.constant(node.input[1])
    zero = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or zero.dtype not in (np.uint8, np.int8):
        return None
    step, least = float(scale.reshape(-1)[0]), 0 if zero.dtype == np.uint8 else -128
    low, high = (step * (end - int(zero.reshape(-1)[0])) for end in (least, least + 255))
    return (low, high) if high > low else None


def find_trunk(graph: Graph, image: str) -> list[int]:
    """Nodes between the image and the outputs that need no other input, in topological order, as positions in `graph.nodes`."""
    others = {value.name for value in graph.inputs} - {image}
    return sorted((graph.descendants_of(image) & graph.ancestors_of(graph.outputs)) - graph.readers_of(others))
