"""Facts of a model file, as a verdict and a baseline's notes hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError
from onnxspace.inputs.pixel_record import PixelRecord, parse_pixel_record
from onnxspace.inputs.weight_sketch import WeightSketch, parse_weight_sketch


@dataclass(frozen=True)
class FileFacts:
    """Facts of a model file: `inputs` and `outputs` as type and shape by name, `operators` as counts by name, and so on.

    `weights` are names and checksums of stored tensors in the order of the graph's nodes, which is that of other exports of
    the same network too. `assumed` are assumptions on its input, a sentence each. `bytes` is 0 where the file was not read.
    `zero` is the colour (red, green, blue, or grey, from 0 to 255) that the network's input holds as 0; `fed` are slope and offset
    of what its first layer gets, per colour: value = slope · pixel + offset. Both are empty where they are unknown.
    `biases` names the stored tensors that are biases or parameters of normalisations, `front` the operators that
    compute what the first layer gets, None where that is unknown. `scalars` are names and checksums of stored single numbers,
    which the first version of notes does not have. `pixels` says what pixels its maps are of and where that comes from, `sketch` is that of
    its trained layers; both are None in notes of earlier versions.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    producer: str
    opset: int
    encoder: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    operators: Mapping[str, int]
    parameters: int
    weights: tuple[tuple[str, str], ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    zero: tuple[float, ...] = ()
    fed: tuple[tuple[float, float], ...] = ()
    biases: tuple[str, ...] = ()
    front: tuple[str, ...] | None = None
    scalars: tuple[tuple[str, str], ...] | None = None
    pixels: PixelRecord | None = None
    sketch: WeightSketch | None = None

    @property
    def of_file(self) -> bool:
        """Whether the file itself was read; a model of a space or a bare fingerprint has only names."""
        return self.bytes > 0


def read_facts(content: Any, where: Path) -> FileFacts:
    """Facts from untrusted JSON; `where` is its file, which a ModelError for invalid content names."""
    try:
        known = {f.name for f in fields(FileFacts)}
        values = {key: value for key, value in content.items() if key in known}
        values["zero"] = tuple(float(number) for number in values.get("zero", ()))
        values["fed"] = tuple((float(slope), float(offset)) for slope, offset in values.get("fed", ()))
        values["weights"] = tuple((str(name), str(digest)) for name, digest in values.get("weights", ()))
        for name in ("assumed", "warnings", "biases"):
            values[name] = tuple(str(word) for word in values.get(name, ()))
        front = values.get("front")
        values["front"] = None if front is None else tuple(str(name) for name in front)
        scalars = values.get("scalars")
        values["scalars"] = None if scalars is None else tuple((str(name), str(digest)) for name, digest in scalars)
        values["pixels"] = parse_pixel_record(values.get("pixels"))
        sketch = values.get("sketch")
        values["sketch"] = None if sketch is None else parse_weight_sketch(sketch)
        for name in ("inputs", "outputs", "operators"):
            values[name] = dict(values[name])
        found = FileFacts(**values)
        if not all(isinstance(getattr(found, n), str) for n in ("name", "path", "sha256", "producer", "encoder")):
            raise TypeError("names must be text")
        if not all(type(getattr(found, n)) is int for n in ("bytes", "opset", "parameters")):
            raise TypeError("sizes must be whole numbers")
        _check_tables(found)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{where} does not describe an artifact ({error}); make it again with --update.") from error
    return found


def _check_tables(found: FileFacts) -> None:
    """Raises TypeError for tables whose values are of another type, and for numbers that are not finite."""
    if not all(isinstance(text, str) for table in (found.inputs, found.outputs) for text in table.values()):
        raise TypeError("types of inputs and outputs must be text")
    if not all(type(count) is int for count in found.operators.values()):
        raise TypeError("counts of operators must be whole numbers")
    if not all(math.isfinite(number) for number in (*found.zero, *(n for pair in found.fed for n in pair))):
        raise TypeError("what the input holds must be finite")


def facts_without_file(name: str, path: str, sha256: str, encoder: str) -> FileFacts:
    """Facts of a model whose file was not read."""
    return FileFacts(name, path, sha256, 0, "", 0, encoder, {}, {}, {}, 0)


def facts_dict(facts: FileFacts) -> dict[str, Any]:
    """The facts, ready for JSON."""
    return asdict(facts)
