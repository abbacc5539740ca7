"""Edit jax2onnx's graphs for ONNX Runtime: pools over four axes, two of which are not pooled, become pools over two."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxspace_converters.graphs import drop_unread


def reduce_pool_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace four-dimensional pools by two-dimensional ones, wherever batch and channels are not pooled."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.node:
        kernel = _pool_window(node, stored)
        row = _match_unsqueezed(node, makers, readers) if len(kernel) == 4 else None
        if row is not None and (plain := _make_pool(graph, row[0], node, kernel, row[1].output[0])) is not None:
            made[id(row[1])] = plain
    nodes = [each for node in graph.node for each in made.get(id(node), [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)
    return model


def _pool_window(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> list[int]:
    """The window of a pool, or of a convolution with weights of 1, which is a sum pool; empty for other nodes."""
    if node.op_type == "MaxPool":
        return _ints(node, "kernel_shape")
    weight = stored.get(node.input[1]) if node.op_type == "Conv" and len(node.input) == 2 else None
    if weight is None or list(weight.dims[:2]) != [1, 1] or not (numpy_helper.to_array(weight) == 1).all():
        return []
    return list(weight.dims[2:])


def _match_unsqueezed(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], readers: dict[str, list[onnx.NodeProto]]
) -> tuple[str, onnx.NodeProto] | None:
    """The tensor before the two Unsqueeze in front of a pool, and the Squeeze behind it; None where the pattern differs."""
    second = makers.get(node.input[0])
    first = makers.get(second.input[0]) if second is not None else None
    after = readers.get(node.output[0], [])
    kinds = [each.op_type for each in (first, second, *after) if each is not None]
    return (first.input[0], after[0]) if first is not None and kinds == ["Unsqueeze", "Unsqueeze", "Squeeze"] else None


def _make_pool(
    graph: onnx.GraphProto, source: str, pool: onnx.NodeProto, kernel: list[int], target: str
) -> list[onnx.NodeProto] | None:
    steps, name = _ints(pool, "strides") or [1] * 4, pool.output[0]
    starts, ends = np.reshape(_ints(pool, "pads") or [0] * 8, (2, 4)).tolist()
    wide = [k for k in range(4) if (kernel[k], steps[k], starts[k], ends[k]) != (1, 1, 0, 0)]
    rest = [k for k in range(4) if k not in wide]
    if len(wide) > 2 or any(step != 1 for step in _ints(pool, "dilations")):
        return None
    while len(wide) < 2:
        wide = sorted([*wide, rest.pop()])
    order = [*rest, *wide]
    shape, strides = ([each[k] for k in wide] for each in (kernel, steps))
    window: dict[str, Any] = {
        "kernel_shape": shape,
        "strides": strides,
        "pads": [each[k] for each in (starts, ends) for k in wide],
    }
    return [
        helper.make_node("Transpose", [source], [f"{name}_in"], perm=order),
        *_pool_nodes(graph, name, pool.op_type, window),
        helper.make_node("Transpose", [f"{name}_out"], [target], perm=np.argsort(order).tolist()),
    ]


def _pool_nodes(graph: onnx.GraphProto, name: str, op_type: str, window: dict[str, Any]) -> list[onnx.NodeProto]:
    """Nodes for the maximum of each window, or for the sum, which is the mean times the window's area."""
    if op_type == "MaxPool":
        return [helper.make_node("MaxPool", [f"{name}_in"], [f"{name}_out"], **window)]
    area = np.asarray(np.prod(window["kernel_shape"]), np.float32)
    graph.initializer.append(numpy_helper.from_array(area, f"{name}_area"))
    return [
        helper.make_node("AveragePool", [f"{name}_in"], [f"{name}_mean"], count_include_pad=1, **window),
        helper.make_node("Mul", [f"{name}_mean", f"{name}_area"], [f"{name}_out"]),
    ]


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(item.ints) for item in node.attribute if item.name == name), [])
