"""Rewrite skl2onnx's graphs in standard operators, with images as input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxspace.errors import ModelError
from onnxspace_converters.graphs import drop_unread

_Nodes = Iterator[onnx.NodeProto]


class _Graph:
    """Names and stored values for new nodes of a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph, self.made = model.graph, 0
        self.opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))

    def name(self) -> str:
        self.made += 1
        return f"plain_{self.made}"

    def store(self, value: Any) -> str:
        name = self.name()
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def steps(self, source: str, target: str, *steps: tuple[str, list[str], dict[str, Any]]) -> _Nodes:
        """Nodes in sequence: each takes the output of the previous one, then the inputs given."""
        for k, (op_type, inputs, attributes) in enumerate(steps):
            output = target if k == len(steps) - 1 else self.name()
            yield helper.make_node(op_type, [source, *inputs], [output], **attributes)
            source = output


def to_standard_operators(model: onnx.ModelProto, *, labelled: bool) -> onnx.ModelProto:
    """Replace operators of `ai.onnx.ml` by standard ones, and drop the label output where the model is `labelled`.

    Raises ModelError for an operator without a standard form here.
    """
    if labelled:  # a label has no gradient
        del model.graph.output[0]
    drop_unread(model.graph)
    graph = _Graph(model)
    nodes = [plain for node in model.graph.node for plain in _convert_node(graph, node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [entry for entry in model.opset_import if entry.domain != "ai.onnx.ml"]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _convert_node(graph: _Graph, node: onnx.NodeProto) -> _Nodes:
    if node.domain != "ai.onnx.ml":
        yield node
        return
    if node.op_type not in _FORMS:
        raise ModelError(f"its {node.op_type} has no form in standard operators")
    yield from _FORMS[node.op_type](graph, node, {item.name: helper.get_attribute_value(item) for item in node.attribute})


def _scaler(graph: _Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Nodes:
    offset, scale = (graph.store(np.asarray(attributes[name], np.float32)) for name in ("offset", "scale"))
    yield from graph.steps(node.input[0], node.output[0], ("Sub", [offset], {}), ("Mul", [scale], {}))


def _regressor(graph: _Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Nodes:
    targets = int(attributes.get("targets", 1))
    weights = np.asarray(attributes["coefficients"], np.float32).reshape(targets, -1).T
    bias = np.asarray(attributes.get("intercepts") or [0.0] * targets, np.float32)
    yield from graph.steps(
        node.input[0], node.output[0], ("MatMul", [graph.store(weights)], {}), ("Add", [graph.store(bias)], {})
    )


def _classifier(graph: _Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Nodes:
    """The scores, without labels."""
    bias = np.asarray(attributes["intercepts"], np.float32)
    weights = np.asarray(attributes["coefficients"], np.float32).reshape(len(bias), -1).T
    after: dict[bytes, list[tuple[str, list[str], dict[str, Any]]]] = {
        b"NONE": [],
        b"LOGISTIC": [("Sigmoid", [], {})],
        b"SOFTMAX": [("Softmax", [], {"axis": -1})],
    }
    kind = attributes.get("post_transform", b"NONE")
    if kind not in after:
        raise ModelError(f"its linear classifier ends in {kind.decode()}, which has no form in standard operators")
    yield from graph.steps(
        node.input[0], node.output[1], ("MatMul", [graph.store(weights)], {}), ("Add", [graph.store(bias)], {}), *after[kind]
    )


def _normalizer(graph: _Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> _Nodes:
    norm = graph.name()
    kind = attributes.get("norm", b"MAX")
    reductions = {b"L1": ("ReduceL1", node.input[0]), b"L2": ("ReduceL2", node.input[0]), b"MAX": ("ReduceMax", node.input[0])}
    op_type, source = reductions[kind]
    axes: tuple[list[str], dict[str, Any]] = (
        ([graph.store(np.asarray([1], np.int64))], {}) if graph.opset >= 18 else ([], {"axes": [1]})
    )
    yield helper.make_node(op_type, [source, *axes[0]], [norm], keepdims=1, **axes[1])
    yield helper.make_node("Div", [node.input[0], norm], [node.output[0]])


_FORMS: dict[str, Callable[[_Graph, onnx.NodeProto, dict[str, Any]], _Nodes]] = {
    "Scaler": _scaler, "LinearRegressor": _regressor, "LinearClassifier": _classifier, "Normalizer": _normalizer,
}  # fmt: skip


def accept_images(model: onnx.ModelProto, shape: tuple[int, ...], *, last: bool) -> onnx.ModelProto:
    """Let the model take a batch of images of `shape`; with `last`, return the last score only."""
    graph = model.graph
    (value,) = graph.input
    flat = f"{value.name}_flat"
    for node in graph.node:
        node.input[:] = [flat if name == value.name else name for name in node.input]
    graph.node.insert(0, helper.make_node("Flatten", [value.name], [flat], axis=1))
    value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", *shape]))
    if last:
        graph.initializer.append(numpy_helper.from_array(np.asarray([1], np.int64), "last_column"))
        graph.node.append(helper.make_node("Gather", [graph.output[0].name, "last_column"], ["last_score"], axis=1))
        graph.output[0].CopyFrom(helper.make_tensor_value_info("last_score", TensorProto.FLOAT, ["batch", 1]))
    return model
