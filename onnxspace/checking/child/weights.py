"""The numbers that a network stores, wherever its exporter has put them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnxspace.model.network import Network, stored


def weights(network: Network) -> dict[str, NDArray[Any]]:
    """Values of initialisers and of Constant nodes that nodes of the main graph read, in the order in which they do."""
    held, constants = stored(network), _constants(network)
    found: dict[str, NDArray[Any]] = {}
    for name in (name for node in network.graph.nodes for name in node.input):
        if name in held:
            found.setdefault(name, held[name])
        elif name in constants and name not in found:
            found[name] = numpy_helper.to_array(constants[name])
    return found


def _constants(network: Network) -> dict[str, TensorProto]:
    """As Paddle's exporter writes weights, and older ones."""
    nodes = (node for node in network.graph.nodes if node.op_type == "Constant" and node.output)
    return {node.output[0]: a.t for node in nodes for a in node.attribute if a.name == "value"}
