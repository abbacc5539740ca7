"""What is known of a model, without the model: its description, encoder, candidates and operators. Free of ONNX."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from onnxspace.inputs.config import JOINT
from onnxspace.inputs.pixel_record import PixelRecord, parse_pixel_record
from onnxspace.storage.short_text import count, count_losses, join_lines, wrap_notes

Shape = tuple[int | None, ...]
Way = Literal["onnxspace", "onnx2torch", "folded", "fused", "none"]
WAYS = {
    "onnxspace": "converted by onnxspace",
    "onnx2torch": "converted by onnx2torch",
    "folded": "constant-folded or removed",
    "fused": "fused into a larger operator, which is explained as one",
    "none": "not supported",
}


#: What stands behind a tensor whose units' deviations are explained.
DEVIATIONS = " (deviations)"


@dataclass(frozen=True)
class Candidate:
    """A tensor at which the network could be cut.

    `shape` is its shape for one image, `below` the share of the network's multiply-adds that lies below it (0 to 1).
    """

    tensor: str
    shape: Shape | None
    below: float

    @property
    def elements(self) -> int | None:
        """Number of values per image, None where a size is unknown."""
        return None if self.shape is None or None in self.shape else math.prod(n for n in self.shape if n is not None)


@dataclass(frozen=True)
class Encoder:
    """Where the network is cut: one tensor, or several that are explained together; `why` is the reason in words.

    What is explained is the sum of all units; of the tensors that `deviations` names, whose units add up to a constant, it is the sum
    of the units' deviations above their mean. The text form is what `--encoder` takes.
    """

    tensors: tuple[str, ...]
    why: str
    deviations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return JOINT.join(name + DEVIATIONS * (name in self.deviations) for name in self.tensors)


@dataclass(frozen=True)
class Description:
    """What `onnxspace inspect` shows of a model.

    `flops` counts two operations per multiply-add of the parametric operators (Conv, Gemm, MatMul and others) for one image,
    `share_below` the share of these that lies below the encoder (0 to 1). `assumed` lists what was inferred from the graph
    because neither the file nor the configuration states it; `pixels` is how pixels reach the network, and `warnings` name what
    could not be read of that. `support` lists how the operators of the whole model are converted, None where that was not asked.
    """

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
    pixels: PixelRecord | None = None
    warnings: tuple[str, ...] = ()
    support: tuple[OperatorSupport, ...] | None = None

    def __repr__(self) -> str:
        facts = [
            f"{count(self.parameters, 'parameter')}, {self.flops:,} FLOPs per image, written by {self.producer or 'unknown'}"
        ]
        encoder = f"Encoder: {self.encoder if self.encoder.tensors else 'none'}, {count(len(self.candidates), 'candidate')}"
        lines = [*facts, encoder, *self.assumed]
        return join_lines(f"{self.name} ({self.path})", wrap_notes(lines), count_losses([], self.warnings))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, with the schema `onnxspace/inspect/1`; `support` only where it was asked.

        >>> ox.inspect("model.onnx").to_dict()["opsets"]  # doctest: +SKIP
        {'ai.onnx': 18}
        """
        rest = {name: value for name, value in asdict(self).items() if (name, value) != ("support", None)}
        return {"schema": "onnxspace/inspect/1", **rest}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Description:
        """Read the description in the JSON values `found` that a worker has sent.

        Raises KeyError, TypeError or ValueError for anything else.

        >>> Description.from_json(found).name  # doctest: +SKIP
        'model'
        """
        candidates = tuple(_read_candidate(one) for one in found["candidates"])
        tensors, deviations = (tuple(str(name) for name in found["encoder"][key]) for key in ("tensors", "deviations"))
        encoder = Encoder(tensors, str(found["encoder"]["why"]), deviations)
        facts: dict[str, Any] = {name: str(found[name]) for name in ("name", "path", "sha256", "producer")}
        facts |= {name: int(found[name]) for name in ("ir_version", "parameters", "flops")}
        facts |= {name: {str(key): str(text) for key, text in found[name].items()} for name in ("inputs", "outputs")}
        facts |= {name: {str(key): int(n) for key, n in found[name].items()} for name in ("opsets", "operators")}
        share, assumed = float(found["share_below"]), tuple(str(text) for text in found["assumed"])
        pixels, warnings = parse_pixel_record(found["pixels"]), tuple(str(text) for text in found["warnings"])
        return cls(
            **facts,
            assumed=assumed,
            encoder=encoder,
            share_below=share,
            candidates=candidates,
            pixels=pixels,
            warnings=warnings,
        )


def _read_candidate(found: Mapping[str, Any]) -> Candidate:
    shape = None if found["shape"] is None else tuple(None if size is None else int(size) for size in found["shape"])
    return Candidate(str(found["tensor"]), shape, float(found["below"]))


@dataclass(frozen=True)
class OperatorSupport:
    """One operator of a model, with its domain unless it is the standard one: schema version, number of nodes, and handling."""

    operator: str
    version: int
    count: int
    way: Way
