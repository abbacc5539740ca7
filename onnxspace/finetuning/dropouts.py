"""Dropout through the normalisation of a graph, which removes it as an identity.

Before it, each Dropout becomes a product with a stored one, whose name holds the ratio; afterwards that product is revived.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from onnxspace.model.graph import Graph
from onnxspace.model.network import Network

_MARK = "dropout__"


def mark_dropouts(network: Network) -> Network:
    """Replace each Dropout with one output by a product with one. The network itself is not changed."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    for index, node in enumerate(proto.graph.node):
        if node.op_type == "Dropout" and not any(node.output[1:]):
            name = f"{_MARK}{index}__{_read_ratio(node, network.graph)!r}"
            proto.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), name))
            node.CopyFrom(onnx.helper.make_node("Mul", [node.input[0], name], [node.output[0]], node.name))
    return Network(proto, network.weights)


def marked_ratio(node: onnx.NodeProto) -> float | None:
    """The ratio of a Dropout that `mark_dropouts` replaced; None for any other node."""
    marks = [name for name in node.input if name.startswith(_MARK)]
    return float(marks[0].rpartition("__")[2]) if node.op_type == "Mul" and marks else None


def _read_ratio(node: onnx.NodeProto, source: Graph) -> float:
    """The share of values that are dropped: an attribute, or from opset 12 on an input; one half where neither is given."""
    stored = source.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    given = next((float(a.f) for a in node.attribute if a.name == "ratio"), 0.5) if stored is None else float(stored)
    return given if 0 <= given < 1 else 0.5
