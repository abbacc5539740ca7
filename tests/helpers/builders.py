"""Tiny ONNX models, made in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FEATURES = "features"


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


def classifier(seed: int = 0, channels: int = 3, size: int = 16) -> onnx.ModelProto:
    """A whole small classifier with random weights."""
    return model(classifier_nodes(), classifier_weights(seed, channels), [image(channels, size)])


def save(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a model as it is, unchecked."""
    path.write_bytes(proto.SerializeToString())
    return path
