"""The weights of a network, in initialisers and in Constant nodes."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from onnxspace.model.network import Network, collect_initializers

#: Operators whose third input is a bias.
_BIASED = frozenset({"Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm"})


def read_weights(network: Network) -> dict[str, NDArray[Any]]:
    """The values of initialisers and Constant nodes by name, in the order in which nodes of the main graph read them."""
    held, constants = collect_initializers(network), _constant_tensors(network)
    found: dict[str, NDArray[Any]] = {}
    for name in (name for node in network.graph.nodes for name in node.input):
        if name in held:
            found.setdefault(name, held[name])
        elif name in constants and name not in found:
            found[name] = numpy_helper.to_array(constants[name])
    return found


def _constant_tensors(network: Network) -> dict[str, TensorProto]:
    """Tensors of Constant nodes, where Paddle's and older exporters put weights."""
    nodes = (node for node in network.graph.nodes if node.op_type == "Constant" and node.output)
    return {node.output[0]: a.t for node in nodes for a in node.attribute if a.name == "value"}


def find_biases(network: Network) -> list[str]:
    """Names of stored tensors that nodes add to values, and of parameters of normalisations."""
    held = {*collect_initializers(network), *_constant_tensors(network)}
    reads = ((node, place, name) for node in network.graph.nodes for place, name in enumerate(node.input))
    return list(dict.fromkeys(name for node, place, name in reads if name in held and _is_bias(node, place)))


def _is_bias(node: NodeProto, place: int) -> bool:
    if node.op_type.endswith("Normalization"):
        return place > 0
    return node.op_type in ("Add", "Sub") or (node.op_type in _BIASED and place == 2)
