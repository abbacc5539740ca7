"""Small networks for the tests, as ONNX, with random or given weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


class Net:
    """Writes a graph node by node; every method returns the name of the tensor it made."""

    def __init__(self, shape: Shape = ("N", 3, 16, 16), seed: int = 0, elem_type: int = TensorProto.FLOAT) -> None:
        self.shape, self.elem_type = shape, elem_type
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: Any) -> str:
        """A new initialiser."""
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int) -> str:
        """Weights of the size that keeps activations at unit variance."""
        return self.weight(self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"n{len(self.nodes)}", **attributes))
        return output

    def conv(self, x: str, inputs: int, outputs: int, size: int = 3, **attributes: Any) -> str:
        return self.add("Conv", x, self.random(outputs, inputs, size, size), **attributes)

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        return self.add("Gemm", x, self.random(outputs, inputs), transB=1)

    def model(self, outputs: Sequence[str], opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("image", self.elem_type, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def classifier(shape: Shape = ("N", 3, 16, 16), seed: int = 0, units: int = 4) -> onnx.ModelProto:
    """Conv, Relu, Conv, Relu, global pool, Flatten (the encoder), Gemm."""
    net = Net(shape, seed)
    x = net.add("Relu", net.conv("image", int(shape[1] or 3), 8, pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 8, units, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(x, units, 3)])


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def worst_cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The smallest per-image cosine of two sets of maps."""
    x, y = (m.reshape(len(m), -1).astype(np.float64) for m in (a, b))
    return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())
