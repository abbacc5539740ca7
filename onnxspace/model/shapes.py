"""Shapes of every tensor for one image, from ONNX's own inference; nothing is run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx

from onnxspace.model.graph import PARAMETRIC, Graph
from onnxspace.model.network import SMALL

Shape = tuple[int | None, ...]


def with_input_shapes(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """A copy whose inputs have `shapes` (None: open) and whose other recorded shapes, perhaps stale, are gone."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    set_input_shapes(copy, shapes)
    return copy


def set_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Give the inputs of `model` these shapes (None: open), in place, and forget the recorded shapes of all else."""
    del model.graph.value_info[:]
    for value in model.graph.input:
        if value.name in shapes:
            _set_shape(value, shapes[value.name])
    for value in model.graph.output:
        if value.type.tensor_type.elem_type:  # touching an unknown type would make it a tensor of no type
            value.type.tensor_type.ClearField("shape")


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with large stored tensors as inputs of their shape: all that inference needs, at a fraction of the size."""
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    light.graph.name = proto.graph.name or "shapes"
    light.graph.node.extend(proto.graph.node)
    light.graph.output.extend(proto.graph.output)
    light.graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    stored = {tensor.name for tensor in proto.graph.initializer}
    light.graph.input.extend(value for value in proto.graph.input if value.name not in stored)
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _set_shape(value: onnx.ValueInfoProto, shape: Shape) -> None:
    value.type.tensor_type.ClearField("shape")
    for axis, size in enumerate(shape):
        dim = value.type.tensor_type.shape.dim.add()
        if size is None:
            dim.dim_param = f"open_{axis}"
        else:
            dim.dim_value = size


def infer(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> dict[str, tuple[Shape, int]]:
    """Shape and element type of every tensor that ONNX's inference can tell, when the inputs have `shapes`."""
    fixed = _without_weights(proto)
    set_input_shapes(fixed, shapes)
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception:  # bare RuntimeErrors on odd graphs: then only what the file itself says is known
        inferred = fixed
    values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    known = {v.name: (_shape(v), v.type.tensor_type.elem_type) for v in values if v.type.tensor_type.HasField("shape")}
    known |= {t.name: (tuple(t.dims), t.data_type) for t in proto.graph.initializer}
    return known


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def elements(shape: Shape | None) -> int | None:
    """Number of elements, None where a size is open."""
    return None if shape is None or None in shape else math.prod(n for n in shape if n is not None)


def multiply_adds(graph: Graph, shapes: Mapping[str, tuple[Shape, int]]) -> dict[int, int]:
    """Multiply-adds of every parametric node for one image (0 where its shapes are unknown)."""
    return {i: _work(graph, i, shapes) for i in range(len(graph.nodes)) if graph.is_parametric(i)}


def _work(graph: Graph, index: int, shapes: Mapping[str, tuple[Shape, int]]) -> int:
    node = graph.nodes[index]
    at = PARAMETRIC[node.op_type]
    weight_name = node.input[at] if node.input[at] in graph.constants else node.input[0]
    weight, other = elements(_of(shapes, weight_name)), _of(shapes, node.input[0])
    output = _of(shapes, node.output[0])
    if weight is None:
        return 0
    if "Conv" in node.op_type:
        positions = elements((other if node.op_type == "ConvTranspose" else output or (None,))[2:]) if other else None
        return weight * (positions or 0)
    if node.op_type in {"LSTM", "GRU", "RNN"}:
        return weight * ((other or (0,))[0] or 0)
    rows = elements((output or (None,))[:-1])
    return weight * (rows or 0)


def _of(shapes: Mapping[str, tuple[Shape, int]], name: str) -> Shape | None:
    return shapes[name][0] if name in shapes else None
