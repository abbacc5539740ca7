"""Convert TFLite to ONNX with tf2onnx, extended by operators that it lacks, with or without TensorFlow."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx


def convert_tflite(content: bytes, opset: int) -> onnx.ModelProto:
    """Convert a TFLite file's `content`; quantised tensors stand between QuantizeLinear and DequantizeLinear."""
    from onnxspace_converters.tensorflow_stub import install_stub

    install_stub()
    add_operators()
    from tf2onnx import optimizer
    from tf2onnx.tfonnx import process_tf_graph

    with TemporaryDirectory() as folder:
        path = Path(folder, "network.tflite")
        path.write_bytes(content)
        graph = process_tf_graph(None, tflite_path=str(path), opset=opset)
    made: onnx.ModelProto = optimizer.optimize_graph(graph, catch_errors=True).make_model("converted")
    return made


@cache
def add_operators() -> None:
    """Register handlers for GELU and Erfc, which tf2onnx lacks."""
    from tf2onnx.handler import tf_op, tfl_op

    class Gelu:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_options: Any) -> None:
            """x · Φ(x), or its approximation by tanh."""
            approximate = bool(node.get_attr_value("approximate", 0))
            image, shape, kind = node.input[0], ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
            made = _NodeChain(ctx, kind)
            gate = made.tanh_gate(image) if approximate else made.erf_gate(image)
            ctx.remove_node(node.name)
            ctx.make_node("Mul", [image, gate], name=node.name, outputs=node.output, shapes=[shape], dtypes=[kind])

    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_options: Any) -> None:
            """1 − erf(x)."""
            shape, kind = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
            made = _NodeChain(ctx, kind)
            erf = made("Erf", node.input[0])
            ctx.remove_node(node.name)
            ctx.make_node("Sub", [made.number(1.0), erf], name=node.name, outputs=node.output, shapes=[shape], dtypes=[kind])

    tfl_op(["TFL_GELU"])(Gelu)
    tf_op(["Erfc"])(Erfc)


class _NodeChain:
    """Builds nodes one after another in a graph of tf2onnx."""

    def __init__(self, graph: Any, kind: int) -> None:
        self.graph, self.kind = graph, kind

    def __call__(self, op_type: str, *inputs: str) -> str:
        name: str = self.graph.make_node(op_type, list(inputs)).output[0]
        return name

    def number(self, value: float) -> str:
        from tf2onnx import utils

        array = utils.map_onnx_to_numpy_type(self.kind)(value)
        name: str = self.graph.make_const(utils.make_name("number"), array).output[0]
        return name

    def erf_gate(self, x: str) -> str:
        """½ (1 + erf(x / √2))."""
        erf = self("Erf", self("Mul", x, self.number(0.5**0.5)))
        return self("Mul", self("Add", erf, self.number(1.0)), self.number(0.5))

    def tanh_gate(self, x: str) -> str:
        """½ (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
        cube = self("Mul", self("Mul", self("Mul", x, x), x), self.number(0.044715))
        bent = self("Tanh", self("Mul", self("Add", x, cube), self.number((2 / 3.141592653589793) ** 0.5)))
        return self("Mul", self("Add", bent, self.number(1.0)), self.number(0.5))
