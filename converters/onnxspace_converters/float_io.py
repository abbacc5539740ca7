"""Give a quantised network floating-point inputs and outputs: quantisation becomes part of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxspace_converters.tidy import rename_tensors

if TYPE_CHECKING:
    from onnxspace_converters.tflite_files import Quantisation


def add_float_input(model: onnx.ModelProto, step: Quantisation) -> None:
    """Add a quantisation of the image, if the network takes integers."""
    if not step.quantised:
        return
    value = model.graph.input[0]
    stored = f"{value.name}_stored"
    rename_tensors(model, {value.name: stored})
    value.name = "real_image"
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.node.insert(
        0, helper.make_node("QuantizeLinear", ["real_image", *_store_parameters(model, step, "input")], [stored])
    )


def add_float_output(model: onnx.ModelProto, value: Any, detail: dict[str, Any]) -> None:
    """Add a dequantisation of the output `value`, if it is quantised."""
    from onnxspace_converters.tflite_files import quantisation_of

    found = quantisation_of(detail)
    if not found.quantised:
        return
    real = f"{value.name}_real"
    model.graph.node.append(
        helper.make_node("DequantizeLinear", [value.name, *_store_parameters(model, found, value.name)], [real])
    )
    value.name = real
    value.type.tensor_type.elem_type = TensorProto.FLOAT


def remove_int16_steps(model: onnx.ModelProto) -> None:
    """Replace 16-bit quantisation, which these opsets lack, by floating-point values within its bounds.

    The rounding that is left out is 2⁻¹⁶ of the range.
    """
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if not any(_stored_dtype(node, stored) == np.int16 for node in graph.node):
        return
    for node in graph.node:
        kind = _stored_dtype(node, stored)
        if kind == np.int16 and node.op_type == "QuantizeLinear":
            _replace_operator(node, "Clip", [node.input[0], *_store_bounds(model, node, stored)])
        elif kind in (np.int16, np.int64) and node.input[0] in stored:
            graph.initializer.append(numpy_helper.from_array(_dequantise(node, stored), f"{node.output[0]}_stored"))
            _replace_operator(node, "Identity", [f"{node.output[0]}_stored"])
        elif kind == np.int16:
            _replace_operator(node, "Identity", [node.input[0]])


def _stored_dtype(node: onnx.NodeProto, stored: dict[str, Any]) -> Any:
    """The integer type that a node quantises to or dequantises from; None for other nodes."""
    steps = node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2
    return stored[node.input[2]].dtype if steps and node.input[2] in stored else None


def _replace_operator(node: onnx.NodeProto, op_type: str, inputs: list[str]) -> None:
    node.op_type, node.input[:] = op_type, inputs
    del node.attribute[:]


def _dequantise(node: onnx.NodeProto, stored: dict[str, Any]) -> Any:
    """Dequantise stored values, whose scale may differ along one axis."""
    values, scale, zero = (stored[name] for name in node.input)
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    shape = [-1 if k == axis % max(values.ndim, 1) else 1 for k in range(values.ndim)] if scale.size > 1 else []
    return ((values - zero.reshape(shape)) * scale.astype(np.float64).reshape(shape)).astype(np.float32)


def _store_bounds(model: onnx.ModelProto, node: onnx.NodeProto, stored: dict[str, Any]) -> list[str]:
    scale, zero = stored[node.input[1]].astype(np.float64), stored[node.input[2]].astype(np.float64)
    names = [f"{node.output[0]}_low", f"{node.output[0]}_high"]
    for name, limit in zip(names, (np.iinfo(np.int16).min, np.iinfo(np.int16).max), strict=True):
        bound = np.asarray((limit - zero) * scale, np.float32).reshape(())
        model.graph.initializer.append(numpy_helper.from_array(bound, name))
    return names


def _store_parameters(model: onnx.ModelProto, step: Quantisation, name: str) -> list[str]:
    scale, zero = np.asarray(step.scale, np.float32), np.asarray(step.zero, step.dtype)
    names = [f"{name}_scale", f"{name}_zero"]
    pairs = zip((scale, zero), names, strict=True)
    model.graph.initializer.extend(numpy_helper.from_array(array, each) for array, each in pairs)
    return names
