"""Small networks for the tests, as ONNX, with random or given weights: written node by node, or from their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FEATURES = "features"
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


def save(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a model as it is, unchecked."""
    path.write_bytes(proto.SerializeToString())
    return path


def worst_cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The smallest per-image cosine of two sets of maps."""
    x, y = (m.reshape(len(m), -1).astype(np.float64) for m in (a, b))
    return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())


def weight(name: str, *shape: int, seed: int = 0) -> TensorProto:
    """A float32 initialiser of random values."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def constant(name: str, values: ArrayLike) -> TensorProto:
    """A float32 initialiser of given values."""
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def value(name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def image(channels: int = 3, size: int = 16, name: str = "image") -> onnx.ValueInfoProto:
    """An image input in NCHW layout with a fixed size and an open batch."""
    return value(name, ["batch", channels, size, size])


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[TensorProto] = (),
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    opsets: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model from its parts; the output is `logits` unless others are given."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [image()] if inputs is None else list(inputs),
        [value("logits", None)] if outputs is None else list(outputs),
        list(weights),
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in {"": OPSET, **(opsets or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def classifier_nodes() -> list[onnx.NodeProto]:
    """Conv, Relu, GlobalAveragePool, Flatten, Gemm: from `image` over `features` to `logits`."""
    return [
        helper.make_node("Conv", ["image", "kernel", "shift"], ["conv"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], [FEATURES]),
        helper.make_node("Gemm", [FEATURES, "head"], ["logits"], name="last"),
    ]


def classifier_weights(seed: int = 0, channels: int = 3) -> list[TensorProto]:
    """The initialisers that `classifier_nodes` names."""
    return [
        weight("kernel", 4, channels, 3, 3, seed=seed),
        weight("shift", 4, seed=seed + 1),
        weight("head", 4, 5, seed=seed + 2),
    ]


def plain_classifier(seed: int = 0, channels: int = 3, size: int = 16) -> onnx.ModelProto:
    """A whole small classifier of one convolution, with random weights."""
    return model(classifier_nodes(), classifier_weights(seed, channels), [image(channels, size)])
