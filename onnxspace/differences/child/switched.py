"""A network in which each layer's weights, input and output can be rounded, or not, from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxspace.differences.child.signatures import Signature
from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import Graph
from onnxspace.model.network import Network

#: The input that says which layers are rounded, bool [layers].
SWITCHES = "__rounded"
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_CLIPPING = frozenset({"Relu", "Clip"})
_LEAST_OPSET = 10
Range = tuple[float, float]


@dataclass(frozen=True)
class SwitchedLayer:
    """A node with stored weights: its place, the places of its data and weights among its inputs, and the ranges of its input and output.

    `largest` is the largest magnitude of its weights.
    """

    index: int
    data: int
    weights: int
    input: Range
    output: Range
    largest: float


def find_switched(graph: Graph, signatures: Mapping[str, Signature]) -> list[SwitchedLayer]:
    """The layers of a graph in single precision whose inputs have been measured."""
    found = (_read_layer(graph, i, signatures) for i, node in enumerate(graph.nodes) if node.op_type in _LAYERS)
    return [layer for layer in found if layer is not None]


def _read_layer(graph: Graph, index: int, signatures: Mapping[str, Signature]) -> SwitchedLayer | None:
    names = graph.nodes[index].input
    for data, weights in ((0, 1), (1, 0)):
        measured, output = signatures.get(names[data]), signatures.get(_find_end(graph, index))
        stored = (
            evaluate(graph, names[weights], MOST_STEPS) if names[weights] in graph.constants and measured is not None else None
        )
        if measured is None or output is None or stored is None or stored.dtype != np.float32 or stored.ndim < 2:
            continue
        if measured.dtype == "float32":
            largest = float(np.abs(stored).max(initial=0))
            return SwitchedLayer(index, data, weights, _widen(measured), _widen(output), largest)
    return None


def _widen(measured: Signature) -> Range:
    """The range of a tensor, and 0."""
    return min(measured.low, 0.0), max(measured.high, 0.0)


def _find_end(graph: Graph, index: int) -> str:
    """The tensor whose range the output of a layer has: that of a clipping activation where nothing else reads it."""
    name = graph.nodes[index].output[0]
    readers = graph.consumers.get(name, [])
    clipped = len(readers) == 1 and name not in graph.outputs and graph.nodes[readers[0]].op_type in _CLIPPING
    return str(graph.nodes[readers[0]].output[0] if clipped else name)


def is_new_enough(network: Network) -> bool:
    """Whether the operator set has QuantizeLinear."""
    return max((one.version for one in network.proto.opset_import if one.domain in ("", "ai.onnx")), default=0) >= _LEAST_OPSET


def add_switches(network: Network, layers: Sequence[SwitchedLayer], precision: str) -> Network:
    """The network with an input more, SWITCHES, that says which layers are rounded to `precision`: `int8` or `half`.

    Eight bits are those of ONNX Runtime's tools by default: unsigned with a zero point for inputs and outputs, symmetric for weights, a scale
    per tensor.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    by_place = {layer.index: (k, layer) for k, layer in enumerate(layers)}
    nodes: list[NodeProto] = []
    for i, node in enumerate(network.graph.nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        after: list[NodeProto] = []
        if i in by_place:
            before, after = _switch(proto, copy, *by_place[i], precision)
            nodes += before
        nodes += [copy, *after]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(layers)]))
    return Network(proto, network.weights)


def _switch(
    proto: onnx.ModelProto, node: NodeProto, k: int, layer: SwitchedLayer, precision: str
) -> tuple[list[NodeProto], list[NodeProto]]:
    """Nodes before and behind `node` that round what it reads and computes if its switch is on; its names are changed to theirs."""
    on = f"__on{k}"
    _store(proto, f"{on}_place", np.array(k, np.int64))
    before = [helper.make_node("Gather", [SWITCHES, f"{on}_place"], [on])]
    steps = {layer.data: _scale_range(layer.input), layer.weights: (layer.largest / 127 or 1.0, np.array(0, np.int8))}
    for place, step in steps.items():
        name, used = node.input[place], f"__r{k}_{place}"
        before += _choose(proto, on, (name, used), step, precision)
        node.input[place] = used
    output, node.output[0] = node.output[0], f"__float{k}"
    return before, _choose(proto, on, (node.output[0], output), _scale_range(layer.output), precision)


#: A step between two integers, and the integer that stands for 0.
Step = tuple[float, NDArray[Any]]


def _scale_range(ends: Range) -> Step:
    """The unsigned integers of eight bits that hold a range."""
    step = (ends[1] - ends[0]) / 255 or 1.0
    return step, np.array(round(-ends[0] / step), np.uint8)


def _choose(proto: onnx.ModelProto, on: str, names: tuple[str, str], step: Step, precision: str) -> list[NodeProto]:
    """Nodes that give the first tensor as the second one, rounded where a switch is on."""
    name, used = names
    rounded = f"{used}_rounded"
    if precision == "half":
        nodes = _cast(name, rounded)
    else:
        _store(proto, f"{rounded}_scale", np.array(step[0], np.float32))
        _store(proto, f"{rounded}_zero", step[1])
        nodes = _round(name, rounded)
    return [*nodes, helper.make_node("Where", [on, rounded, name], [used])]


def _cast(name: str, rounded: str) -> list[NodeProto]:
    low = helper.make_node("Cast", [name], [f"{rounded}_low"], to=TensorProto.FLOAT16)
    return [low, helper.make_node("Cast", [f"{rounded}_low"], [rounded], to=TensorProto.FLOAT)]


def _round(name: str, rounded: str) -> list[NodeProto]:
    steps = [f"{rounded}_scale", f"{rounded}_zero"]
    low = helper.make_node("QuantizeLinear", [name, *steps], [f"{rounded}_low"])
    return [low, helper.make_node("DequantizeLinear", [f"{rounded}_low", *steps], [rounded])]


def _store(proto: onnx.ModelProto, name: str, value: NDArray[Any]) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(value, name))
