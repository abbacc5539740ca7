"""A model in numbers, for `onnxspace inspect`: parameters, multiply-adds, operators and candidates for the encoder."""

from __future__ import annotations

from collections import Counter

import onnx

from onnxspace.model.encoder import Trunk, find_encoder
from onnxspace.model.graph import domain_of, iter_nodes
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model
from onnxspace.model.parameters import count_parameters
from onnxspace.model.records import Description as Description
from onnxspace.model.records import Encoder


def describe(model: Model) -> Description:
    """Describe a model: the file's metadata, its parameters and operators, and the encoder that would be used.

    The encoder has no tensors where those that would be cut at need an input besides the image that has no value.

    Raises ModelError for a network without trained layers between its image and its outputs.
    """
    trunk = Trunk(model)
    encoder = _drop_unusable(model, find_encoder(model, trunk))
    file = model.file_network or model.network
    proto = file.proto
    return Description(
        name=model.name,
        path=model.path,
        sha256=model.sha256,
        producer=model.producer,
        ir_version=proto.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        inputs={v.name: _describe_type(v) for v in file.graph.inputs},
        outputs={v.name: _describe_type(v) for v in proto.graph.output},
        operators=_count_operators(proto),
        parameters=count_parameters(proto),
        flops=2 * sum(trunk.work.values()),
        assumed=model.assumed,
        encoder=encoder,
        share_below=trunk.share_below(list(encoder.tensors)),
        candidates=tuple(trunk.candidates()),
        pixels=model.pixels,
        warnings=model.warnings,
    )


def _drop_unusable(model: Model, encoder: Encoder) -> Encoder:
    """The encoder, or none where it needs an input besides the image that has no value."""
    graph = model.graph
    read = {name for i in graph.ancestors_of(encoder.tensors) for name in graph.reads[i]}
    lacking = [value.name for value in graph.inputs if value.name in read and value.name != model.image.name]
    if not lacking:
        return encoder
    return Encoder(
        (),
        f"{encoder} needs values of {', '.join(lacking)} besides the image: state them in [models.NAME.inputs] of onnxspace.toml",
    )


def _describe_type(value: onnx.ValueInfoProto) -> str:
    kinds = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    kind = kinds.get(value.type.tensor_type.elem_type, "unknown type")
    sizes = dims(value)
    return f"{kind} of unknown shape" if sizes is None else f"{kind} [{', '.join('?' if n is None else str(n) for n in sizes)}]"


def _count_operators(proto: onnx.ModelProto) -> dict[str, int]:
    named = (f"{domain_of(n)}::{n.op_type}" if domain_of(n) else n.op_type for n in iter_nodes(proto.graph))
    return dict(sorted(Counter(named).items(), key=lambda item: (-item[1], item[0])))
