"""jax2onnx's graphs as ONNX Runtime takes them: a pool over four axes, two of them of one step, is a pool over two."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from onnxspace_converters.graphs import drop_unread


def plain_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put two-dimensional pools in the places of four-dimensional ones, wherever batch and channels are not pooled."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.node:
        row = _row(node, makers, readers)
        if row is not None and (plain := _plain(*row)) is not None:
            made[id(row[2])] = plain
    nodes = [each for node in graph.node for each in made.get(id(node), [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)
    return model


def _row(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], readers: dict[str, list[onnx.NodeProto]]
) -> tuple[str, onnx.NodeProto, onnx.NodeProto] | None:
    """The tensor before two new axes, the pool, and what takes the axes away again."""
    if node.op_type != "MaxPool" or len(_ints(node, "kernel_shape")) != 4:
        return None
    second = makers.get(node.input[0])
    first = makers.get(second.input[0]) if second is not None else None
    after = readers.get(node.output[0], [])
    kinds = [each.op_type for each in (first, second, *after) if each is not None]
    return (first.input[0], node, after[0]) if first is not None and kinds == ["Unsqueeze", "Unsqueeze", "Squeeze"] else None


def _plain(source: str, pool: onnx.NodeProto, last: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    kernel, steps = _ints(pool, "kernel_shape"), _ints(pool, "strides") or [1] * 4
    starts, ends = np.reshape(_ints(pool, "pads") or [0] * 8, (2, 4)).tolist()
    wide = [k for k in range(4) if (kernel[k], steps[k], starts[k], ends[k]) != (1, 1, 0, 0)]
    rest = [k for k in range(4) if k not in wide]
    if len(wide) > 2 or _ints(pool, "dilations"):
        return None
    while len(wide) < 2:
        wide = sorted([*wide, rest.pop()])
    order, name = [*rest, *wide], pool.output[0]
    pads = [each[k] for each in (starts, ends) for k in wide]
    shape, strides = ([each[k] for k in wide] for each in (kernel, steps))
    return [
        helper.make_node("Transpose", [source], [f"{name}_in"], perm=order),
        helper.make_node("MaxPool", [f"{name}_in"], [f"{name}_out"], kernel_shape=shape, strides=strides, pads=pads),
        helper.make_node("Transpose", [f"{name}_out"], [last.output[0]], perm=np.argsort(order).tolist()),
    ]


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(item.ints) for item in node.attribute if item.name == name), [])
