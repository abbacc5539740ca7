"""Parts of hostile graphs."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.helpers.nets import Net


def add_endless_loop(net: Net, x: str) -> str:
    """Add a Loop of 2⁶² rounds over the tensor `x`, whose result has a size that only running it would tell; returns its name."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("again", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )
    return net.add("Loop", net.weight(np.array(2**62, np.int64)), net.weight(np.array(True)), x, body=body)
