"""A model in numbers, for `onnxspace inspect`: parameters, work, operators, and where it could be cut."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from onnxspace.model.encoder import Candidate, Encoder, Trunk, find_encoder
from onnxspace.model.graph import all_nodes, domain_of
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model


@dataclass(frozen=True)
class Description:
    """What `inspect` shows. `flops` counts two per multiply-add of Conv, Gemm, MatMul and their kin, for one image."""

    name: str
    path: str
    sha256: str
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: dict[str, str]
    outputs: dict[str, str]
    operators: dict[str, int]
    parameters: int
    flops: int
    assumed: tuple[str, ...]
    encoder: Encoder
    share_below: float
    candidates: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"schema": "onnxspace/inspect/1", **asdict(self)}


def describe(model: Model) -> Description:
    """Gather the facts. Raises ModelError for a network without trained layers on the image's way."""
    trunk = Trunk(model)
    encoder = find_encoder(model, trunk)
    proto = model.proto
    return Description(
        name=model.name,
        path=model.path,
        sha256=model.sha256,
        producer=model.producer,
        ir_version=proto.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        inputs={v.name: _typed(v) for v in model.graph.inputs},
        outputs={v.name: _typed(v) for v in proto.graph.output},
        operators=_operators(proto),
        parameters=_parameters(proto),
        flops=2 * sum(trunk.work.values()),
        assumed=model.assumed,
        encoder=encoder,
        share_below=trunk.share_below(list(encoder.tensors)),
        candidates=tuple(trunk.candidates()),
    )


def _typed(value: onnx.ValueInfoProto) -> str:
    kinds = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    kind = kinds.get(value.type.tensor_type.elem_type, "unknown type")
    sizes = dims(value)
    return f"{kind} of unknown shape" if sizes is None else f"{kind} [{', '.join('?' if n is None else str(n) for n in sizes)}]"


def _operators(proto: onnx.ModelProto) -> dict[str, int]:
    named = (f"{domain_of(n)}::{n.op_type}" if domain_of(n) else n.op_type for n in all_nodes(proto.graph))
    return dict(sorted(Counter(named).items(), key=lambda item: (-item[1], item[0])))


def _parameters(proto: onnx.ModelProto) -> int:
    """Elements of all floating-point and quantised weights: initialisers and Constant nodes of two axes or more, or biases."""
    stored = [t for t in proto.graph.initializer if t.data_type not in _INDICES]
    held = [a.t for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")]
    return sum(math.prod(t.dims) for t in (*stored, *(t for t in held if t.dims and t.data_type not in _INDICES)))


_INDICES = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING}
