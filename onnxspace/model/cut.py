"""The part of a graph between the image and some tensors."""

from __future__ import annotations

import onnx

from onnxspace.errors import ModelError
from onnxspace.model.graph import names_read_by
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.records import Encoder
from onnxspace.model.shapes import infer_shapes


def cut(model: Model, encoder: Encoder) -> Network:
    """Extract the graph from the image to the encoder's tensors, which become its outputs.

    Weights are shared with the model. Raises ModelError where that part needs an input besides the image.
    """
    graph = model.graph
    kept = sorted(graph.ancestors_of(encoder.tensors))
    nodes = [graph.nodes[i] for i in kept]
    needed = {name for node in nodes for name in names_read_by(node)}
    others = [v.name for v in graph.inputs if v.name in needed and v.name != model.image.name]
    if others:
        raise ModelError(
            f"{model.path} needs values of {', '.join(others)} besides the image below its encoder. "
            "State them in [models.NAME.inputs] of onnxspace.toml, or name an encoder below them."
        )
    weights = {name: values for name, values in model.network.weights.items() if name in needed}
    return Network(_assemble(model, nodes, needed, encoder), weights)


def _assemble(model: Model, nodes: list[onnx.NodeProto], needed: set[str], encoder: Encoder) -> onnx.ModelProto:
    source = model.proto
    part = onnx.ModelProto(ir_version=max(source.ir_version, 4), producer_name=source.producer_name)
    part.opset_import.extend(source.opset_import)
    part.graph.name = source.graph.name or "cut"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in source.graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(t for t in source.graph.sparse_initializer if t.values.name in needed)
    part.graph.input.extend(v for v in source.graph.input if v.name == model.image.name)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in encoder.tensors)
    _type_outputs(part, model)
    return part


def _type_outputs(part: onnx.ModelProto, model: Model) -> None:
    """Give the new outputs the types and shapes that inference finds; the batch axis is open where the model's is."""
    known = infer_shapes(part, {model.image.name: (model.image.batch, *model.input_shape[1:])})
    for value in part.graph.output:
        if value.name in known:
            shape, elem_type = known[value.name]
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, elem_type, shape))
