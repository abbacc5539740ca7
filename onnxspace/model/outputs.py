"""The outputs of a network as numbers: before a final quantisation, choice of a class, or list of named classes."""

from __future__ import annotations

from onnx import NodeProto, TensorProto

from onnxspace.errors import ModelError
from onnxspace.model.encoder import FLOATS, Encoder
from onnxspace.model.graph import names_read_by
from onnxspace.model.model import Model
from onnxspace.model.shapes import infer_shapes

#: Operators after which numbers are a decision: which class, or whether a limit is exceeded.
_DECIDING = frozenset({
    "ArgMax", "ArgMin", "TopK", "Hardmax", "OneHot", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "Sign", "Round",
    "Floor", "Ceil", "ZipMap", "ArrayFeatureExtractor", "LabelEncoder", "QuantizeLinear", "DynamicQuantizeLinear",
})  # fmt: skip
#: Operators that may stand between a decision and the output.
_PASSING = frozenset({
    "Cast", "CastLike", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gather", "Where", "Concat", "Slice",
})  # fmt: skip


def find_float_outputs(model: Model) -> Encoder:
    """Find the outputs of `model` as numbers that depend on the image alone.

    They are its floating-point outputs; an output that is a decision (the index of a class, classes by name, quantised or
    rounded numbers) stands for the numbers that it is made of, and one that other inputs only scale or select from for the
    tensor before. Raises ModelError where there is none.
    """
    alone = _find_outputs_of_image(model) or _find_before_other_inputs(model)
    if not alone:
        raise ModelError(
            f"{model.path} has no output that depends on its image alone, so nothing can be predicted of it as a target. "
            "Export it with its other inputs fixed."
        )
    types = {name: kind for name, (_, kind) in infer_shapes(model.proto, {model.image.name: model.input_shape}).items()}
    before = {name: _trace_back(model, name, types) for name in alone}
    unchanged = tuple(name for name in alone if before[name] == name)
    names = unchanged or tuple(dict.fromkeys(name for name in before.values() if name is not None))
    if not names:
        raise ModelError(
            f"{model.path} has no output of numbers that depends on its image, so nothing can be predicted of it as a target. "
            "Export it without the last step that turns numbers into other values."
        )
    return Encoder(names, "the outputs")


def _find_outputs_of_image(model: Model) -> list[str]:
    """Outputs that depend on the image, and on no other input of the graph."""
    live = model.graph.descendants_of(model.image.name) - _needing_other_inputs(model)
    return [name for name in model.graph.outputs if model.graph.producer.get(name) in live]


def _find_before_other_inputs(model: Model) -> list[str]:
    """The only tensor of the image alone that nodes with other inputs read, where none of these has trained weights."""
    graph, mixed = model.graph, _needing_other_inputs(model)
    live = graph.descendants_of(model.image.name) - mixed
    if any(graph.is_parametric(i) for i in mixed):
        return []
    names = [name for i in sorted(mixed) for name in names_read_by(graph.nodes[i]) if graph.producer.get(name) in live]
    return names[:1] if len(set(names)) == 1 else []


def _needing_other_inputs(model: Model) -> set[int]:
    """Nodes that depend on another input than the image, as positions in the graph's nodes."""
    others = [value.name for value in model.graph.inputs if value.name != model.image.name]
    return {i for name in others for i in model.graph.descendants_of(name)}


def _trace_back(model: Model, output: str, types: dict[str, int]) -> str | None:
    """The tensor before the decisions at the end of the graph, `output` itself where there are none; None without numbers."""
    graph, reached = model.graph, model.graph.descendants_of(model.image.name)
    name = output
    decided: str | None = None
    while (node := graph.nodes[graph.producer[name]]).op_type in _DECIDING | _PASSING:
        inputs = [each for each in node.input if graph.producer.get(each) in reached]
        if len(inputs) != 1:
            break
        name = inputs[0]
        if node.op_type in _DECIDING or _casts_to_integer(node):
            decided = name
    if decided is not None:
        return decided
    return output if types.get(output, TensorProto.UNDEFINED) in FLOATS | _QUANTISED | {TensorProto.UNDEFINED} else None


#: Integers of quantised networks, which are numbers up to a scale.
_QUANTISED = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32}


def _casts_to_integer(node: NodeProto) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i not in FLOATS for a in node.attribute)
