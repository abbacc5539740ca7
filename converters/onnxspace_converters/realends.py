"""A quantised network that takes and gives real numbers: the steps at its ends become part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxspace_converters.tidy import rename

if TYPE_CHECKING:
    from onnxspace_converters.litefiles import Step


def real_input(model: onnx.ModelProto, step: Step) -> None:
    """Quantise a real image in front of a network that takes whole numbers."""
    if not step.quantised:
        return
    value = model.graph.input[0]
    stored = f"{value.name}_stored"
    rename(model, {value.name: stored})
    value.name = "real_image"
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["real_image", *_numbers(model, step, "input")], [stored]))


def real_output(model: onnx.ModelProto, value: Any, detail: dict[str, Any]) -> None:
    """Give real numbers where an output is of whole ones."""
    from onnxspace_converters.litefiles import step

    found = step(detail)
    if not found.quantised:
        return
    real = f"{value.name}_real"
    model.graph.node.append(helper.make_node("DequantizeLinear", [value.name, *_numbers(model, found, value.name)], [real]))
    value.name = real
    value.type.tensor_type.elem_type = TensorProto.FLOAT


def wide_steps(model: onnx.ModelProto) -> None:
    """Bound real numbers where they were rounded to 16 bits, for which these opsets have no operators."""
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rounded = {node.output[0]: node for node in graph.node if _is_wide(node, stored)}
    nodes = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded:
            first = rounded[node.input[0]]
            nodes.append(helper.make_node("Clip", [first.input[0], *_bounds(model, first, stored)], [node.output[0]]))
        elif node.output[0] not in rounded:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_wide(node: onnx.NodeProto, stored: dict[str, Any]) -> bool:
    zero = stored.get(node.input[2]) if node.op_type == "QuantizeLinear" and len(node.input) > 2 else None
    return zero is not None and zero.dtype == np.int16


def _bounds(model: onnx.ModelProto, node: onnx.NodeProto, stored: dict[str, Any]) -> list[str]:
    scale, zero = stored[node.input[1]].astype(np.float64), stored[node.input[2]].astype(np.float64)
    names = [f"{node.output[0]}_low", f"{node.output[0]}_high"]
    for name, limit in zip(names, (np.iinfo(np.int16).min, np.iinfo(np.int16).max), strict=True):
        bound = np.asarray((limit - zero) * scale, np.float32).reshape(())
        model.graph.initializer.append(numpy_helper.from_array(bound, name))
    return names


def _numbers(model: onnx.ModelProto, step: Step, name: str) -> list[str]:
    scale, zero = np.asarray(step.scale, np.float32), np.asarray(step.zero, step.dtype)
    names = [f"{name}_scale", f"{name}_zero"]
    pairs = zip((scale, zero), names, strict=True)
    model.graph.initializer.extend(numpy_helper.from_array(array, each) for array, each in pairs)
    return names
