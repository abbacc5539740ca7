"""A network in which each layer's weights and input can be rounded, or not, from run to run."""

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
_LEAST_OPSET = 10


@dataclass(frozen=True)
class SwitchedLayer:
    """A node with stored weights: its place, the places of its data and weights among its inputs, and the range of both."""

    index: int
    data: int
    weights: int
    low: float
    high: float
    largest: float


def find_switched(graph: Graph, signatures: Mapping[str, Signature]) -> list[SwitchedLayer]:
    """The layers of a graph in single precision whose inputs have been measured."""
    found = (_read_layer(graph, i, signatures) for i, node in enumerate(graph.nodes) if node.op_type in _LAYERS)
    return [layer for layer in found if layer is not None]


def _read_layer(graph: Graph, index: int, signatures: Mapping[str, Signature]) -> SwitchedLayer | None:
    names = graph.nodes[index].input
    for data, weights in ((0, 1), (1, 0)):
        measured = signatures.get(names[data])
        stored = (
            evaluate(graph, names[weights], MOST_STEPS) if names[weights] in graph.constants and measured is not None else None
        )
        if measured is None or stored is None or stored.dtype != np.float32 or measured.dtype != "float32" or stored.ndim < 2:
            continue
        return SwitchedLayer(
            index, data, weights, min(measured.low, 0.0), max(measured.high, 0.0), float(np.abs(stored).max(initial=0))
        )
    return None


def is_new_enough(network: Network) -> bool:
    """Whether the operator set has QuantizeLinear."""
    return max((one.version for one in network.proto.opset_import if one.domain in ("", "ai.onnx")), default=0) >= _LEAST_OPSET


def add_switches(network: Network, layers: Sequence[SwitchedLayer], precision: str) -> Network:
    """The network with an input more, SWITCHES, that says which layers are rounded to `precision`: `int8` or `half`.

    Eight bits are those of ONNX Runtime's tools by default: unsigned with a zero point for inputs, symmetric for weights, a scale per tensor.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    by_place = {layer.index: (k, layer) for k, layer in enumerate(layers)}
    nodes: list[NodeProto] = []
    for i, node in enumerate(network.graph.nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if i in by_place:
            nodes += _switch(proto, copy, *by_place[i], precision)
        nodes.append(copy)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(layers)]))
    return Network(proto, network.weights)


def _switch(proto: onnx.ModelProto, node: NodeProto, k: int, layer: SwitchedLayer, precision: str) -> list[NodeProto]:
    """Nodes that round what `node` reads if its switch is on; its inputs are changed to theirs."""
    on = f"__on{k}"
    _store(proto, f"{on}_place", np.array(k, np.int64))
    nodes = [helper.make_node("Gather", [SWITCHES, f"{on}_place"], [on])]
    step = (layer.high - layer.low) / 255 or 1.0
    steps = {
        layer.data: (step, np.array(round(-layer.low / step), np.uint8)),
        layer.weights: (layer.largest / 127 or 1.0, np.array(0, np.int8)),
    }
    for place, (scale, zero) in steps.items():
        name, rounded = node.input[place], f"__r{k}_{place}"
        if precision == "half":
            nodes += _cast(name, rounded)
        else:
            _store(proto, f"{rounded}_scale", np.array(scale, np.float32))
            _store(proto, f"{rounded}_zero", zero)
            nodes += _round(name, rounded)
        nodes.append(helper.make_node("Where", [on, rounded, name], [f"{rounded}_used"]))
        node.input[place] = f"{rounded}_used"
    return nodes


def _cast(name: str, rounded: str) -> list[NodeProto]:
    low = helper.make_node("Cast", [name], [f"{rounded}_low"], to=TensorProto.FLOAT16)
    return [low, helper.make_node("Cast", [f"{rounded}_low"], [rounded], to=TensorProto.FLOAT)]


def _round(name: str, rounded: str) -> list[NodeProto]:
    steps = [f"{rounded}_scale", f"{rounded}_zero"]
    low = helper.make_node("QuantizeLinear", [name, *steps], [f"{rounded}_low"])
    return [low, helper.make_node("DequantizeLinear", [f"{rounded}_low", *steps], [rounded])]


def _store(proto: onnx.ModelProto, name: str, value: NDArray[Any]) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(value, name))
