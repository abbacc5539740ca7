"""Shapes of all tensors for given input shapes, and multiply-adds, by ONNX's shape inference, without running the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnx.defs

from onnxspace.errors import ModelError
from onnxspace.model.graph import PARAMETRIC, SHAPE_ONLY, Graph
from onnxspace.model.network import SMALL, Network
from onnxspace.model.old_opsets import raise_opset

Shape = tuple[int | None, ...]
#: The largest tensor that is computed: those of real networks have some hundred megabytes.
MAX_TENSOR_BYTES = 2**32
#: What NumPy refuses to index, also where another axis is empty.
MAX_ARRAY_BYTES = 2**63 - 1
_LONG, _RANK = 2**16, 16  # numbers that inference may compute as one tensor; those of a shape that it computes
_BYTES = {
    kind: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).itemsize
    for kind in onnx.TensorProto.DataType.values()
    if kind not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
}


def with_input_shapes(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """Return a copy whose inputs have `shapes` (None for an open axis) and whose other recorded shapes are removed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    set_input_shapes(copy, shapes)
    return copy


def set_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Set the shapes of the inputs of `model` (None for an open axis) in place, and remove all other recorded shapes."""
    del model.graph.value_info[:]
    for value in model.graph.input:
        if value.name in shapes:
            _set_shape(value, shapes[value.name])
    for value in model.graph.output:
        if value.type.tensor_type.elem_type:  # accessing an unknown type would turn it into a tensor without a type
            value.type.tensor_type.ClearField("shape")


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with large initialisers replaced by inputs of their shape, which is all that inference needs."""
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


def infer_shapes(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> dict[str, tuple[Shape, int]]:
    """Infer the tensors of a graph whose inputs have `shapes`: shape (None for an open axis) and element type by name.

    What inference can't determine is taken from the shapes that the file records, where it records them for these inputs.
    """
    fixed = _without_weights(proto)
    set_input_shapes(fixed, shapes)
    try:
        fixed = raise_opset(Network(fixed)).proto
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=not _propagates_long_data(fixed.graph))
    except Exception:  # errors of all kinds on unusual graphs: only the shapes recorded in the file remain
        inferred = fixed
    values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    known = {v.name: (_declared_shape(v), v.type.tensor_type.elem_type) for v in values if v.type.tensor_type.HasField("shape")}
    known |= {t.name: (tuple(t.dims), t.data_type) for t in proto.graph.initializer}
    return _complete(known, _read_recorded(proto)) if _records_inputs(proto, shapes) else known


def _records_inputs(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> bool:
    """Whether a file states its inputs to have `shapes`, so that all other shapes that it records hold for them."""
    return all(_declared_shape(v) == shapes[v.name] for v in proto.graph.input if v.name in shapes)


def _read_recorded(proto: onnx.ModelProto) -> dict[str, tuple[Shape, int]]:
    values = [v for v in proto.graph.value_info if v.type.tensor_type.HasField("shape")]
    return {v.name: (_declared_shape(v), v.type.tensor_type.elem_type) for v in values}


def _complete(known: dict[str, tuple[Shape, int]], recorded: Mapping[str, tuple[Shape, int]]) -> dict[str, tuple[Shape, int]]:
    """`known` with those of `recorded` whose size it lacks."""
    lacking = {name for name in recorded if name not in known or count_elements(known[name][0]) is None}
    return known | {name: recorded[name] for name in lacking if count_elements(recorded[name][0]) is not None}


def _propagates_long_data(graph: onnx.GraphProto) -> bool:
    """Whether inference would compute long tensors: it concatenates stored values, and a few nodes can ask for any length."""
    lengths = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        length = _count_propagated(node, lengths)
        lengths |= dict.fromkeys(node.output, length)
        if length > _LONG:
            return True
    return False


def _count_propagated(node: onnx.NodeProto, lengths: Mapping[str, int]) -> int:
    """The most numbers of a node's output that inference would compute, 0 where it computes none; `lengths` are those of its inputs."""
    if node.op_type == "Constant":
        return max((math.prod(attribute.t.dims) for attribute in node.attribute), default=0)
    if node.op_type in SHAPE_ONLY or node.op_type not in _list_propagating():
        return _RANK if node.op_type in SHAPE_ONLY else 0
    known = [lengths.get(name, _RANK) for name in node.input]
    return sum(known) if node.op_type == "Concat" else max(known, default=_RANK)


@cache
def _list_propagating() -> frozenset[str]:
    """The operators whose values inference computes."""
    return frozenset(one.name for one in onnx.defs.get_all_schemas_with_history() if one.has_data_propagation_function)


def find_large_tensor(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> tuple[str, int] | None:
    """Find a tensor of more than `MAX_TENSOR_BYTES` that a graph takes or computes for inputs of `shapes`: its name and bytes.

    Only sizes that inference determines are compared: what depends on values is found when it is run, by a limit on memory.
    """
    stored = {tensor.name for tensor in proto.graph.initializer}
    for name, (shape, kind) in infer_shapes(proto, shapes).items():
        size = _count_bytes(shape, kind)
        if size > MAX_TENSOR_BYTES and name not in stored:
            return name, size
    return None


def _count_bytes(shape: Shape, kind: int) -> int:
    """Bytes of a tensor whose open axes have one place; 0 for an empty one, unless its other sizes are more than an array has."""
    size = math.prod(n for n in shape if n) * _BYTES.get(kind, 1)
    return size if 0 not in shape or size > MAX_ARRAY_BYTES else 0


def refuse_large_tensors(proto: onnx.ModelProto, shapes: Mapping[str, Shape], path: str) -> None:
    """Raise ModelError for the model `path` where `find_large_tensor` finds one in its graph `proto`."""
    if (found := find_large_tensor(proto, shapes)) is not None:
        verb = "takes" if found[0] in {value.name for value in proto.graph.input} else "computes"
        raise ModelError(
            f"{path} {verb} {found[0]!r} of {found[1] / 2**30:.3g} GiB, more than the {MAX_TENSOR_BYTES / 2**30:.3g} GiB that one "
            "tensor may have. Leave it out, or state a smaller size of its image."
        )


def _declared_shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def count_elements(shape: Shape | None) -> int | None:
    """Number of elements of a shape; None where the shape or one of its sizes is unknown."""
    return None if shape is None or None in shape else math.prod(n for n in shape if n is not None)


def multiply_adds(graph: Graph, shapes: Mapping[str, tuple[Shape, int]]) -> dict[int, int]:
    """Multiply-adds of every parametric node of `graph`, by its position, for the `shapes` that `infer_shapes` returned.

    They are 0 where a shape is unknown.
    """
    return {i: _multiply_adds_of(graph, i, shapes) for i in range(len(graph.nodes)) if graph.is_parametric(i)}


def _multiply_adds_of(graph: Graph, index: int, shapes: Mapping[str, tuple[Shape, int]]) -> int:
    node = graph.nodes[index]
    at = PARAMETRIC[node.op_type]
    weight_name = node.input[at] if node.input[at] in graph.constants else node.input[0]
    weight, output = count_elements(_shape_of(shapes, weight_name)), _shape_of(shapes, node.output[0])
    if weight is None:
        return 0
    if node.op_type.startswith("Nhwc"):
        return weight * (count_elements((output or (None,))[1:-1]) or 0)
    if node.op_type == "ConvTranspose":
        return weight * _count_sources(node, _shape_of(shapes, node.input[0]), output)
    if "Conv" in node.op_type:
        return weight * (_count_positions(output) or 0)
    if node.op_type in {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}:
        steps = _shape_of(shapes, node.input[0]) or output
        return weight * ((steps or (0,))[0] or 0)
    applied = (output or (None,))[:-1] if weight_name != node.input[0] else (output or (None,))[-1:]
    return weight * (count_elements(applied) or 0)


def _count_sources(node: onnx.NodeProto, given: Shape | None, output: Shape | None) -> int:
    """Positions that a ConvTranspose reads: those of its input, or of its output over the strides where only that is known."""
    if (positions := _count_positions(given)) is not None:
        return positions
    strides = math.prod(next((a.ints for a in node.attribute if a.name == "strides"), ()))
    return (_count_positions(output) or 0) // max(1, strides)


def _count_positions(shape: Shape | None) -> int | None:
    """Positions of a tensor [images, channels, …]."""
    return None if shape is None else count_elements(shape[2:])


def _shape_of(shapes: Mapping[str, tuple[Shape, int]], name: str) -> Shape | None:
    return shapes[name][0] if name in shapes else None
