"""The origin that this package's own conversions write into a file: what the framework, or a preset of names, stated of its input."""

from __future__ import annotations

from collections.abc import Mapping

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Color
from onnxspace.model.pixel_metadata.values import (
    make_options,
    parse_list,
    parse_nonzero,
    parse_numbers,
    parse_scale,
    parse_side,
)

_PREFIX = "onnxspace.input."
_COLORS: Mapping[str, Color] = {"RGB": "RGB", "BGR": "BGR", "GREY": "GREY"}


def read_provenance(metadata: Mapping[str, str]) -> ModelOptions:
    """The options that a conversion noted in the file, which stay with it where its sidecar is lost. Raises ValueError."""
    given = {key.removeprefix(_PREFIX): value for key, value in metadata.items() if key.startswith(_PREFIX)}
    color = _COLORS.get(given.get("color", ""))
    sides = [parse_side(side, "size") for side in _read_list(given, "size", "")]
    size = (sides[0], sides[1]) if len(sides) == 2 else None
    source = f"the conversion of {metadata.get('onnxspace.source', 'another format')[:100]}"
    if "scale" not in given:
        return make_options(source, color=color, size=size)
    mean = parse_numbers(_read_list(given, "mean", "0"), "mean")
    std = parse_nonzero(_read_list(given, "std", "1"), "std")
    return make_options(source, scale=parse_scale(given["scale"], "scale"), mean=mean, std=std, color=color, size=size)


def _read_list(given: Mapping[str, str], key: str, default: str) -> list[float]:
    """The values of a tuple as Python writes it, `(0.5, 0.5)`."""
    return parse_list(given.get(key, default).strip().strip("()"), key)
