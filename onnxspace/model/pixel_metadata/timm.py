"""timm's configuration of pretrained weights: `pretrained_cfg` in `config.json` beside a file, or in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxspace.inputs.config import ModelOptions
from onnxspace.model.pixel_metadata.side_files import SideFiles
from onnxspace.model.pixel_metadata.values import (
    describe_geometry,
    make_options,
    parse_nonzero,
    parse_number,
    parse_numbers,
    parse_object,
    parse_side,
)

_KEY = "pretrained_cfg"


def read_timm_metadata(metadata: Mapping[str, str]) -> ModelOptions:
    """The options of a configuration in the file's metadata. Raises ValueError."""
    return (
        read_timm_config(parse_object(metadata[_KEY], _KEY), f"{_KEY} in its metadata") if _KEY in metadata else ModelOptions()
    )


def read_timm_file(files: SideFiles) -> ModelOptions:
    """The options of `config.json` beside the model, where it is timm's: that of a transformers model states no pixels."""
    found = files.find_json("config.json", above=True)
    if found is None or _KEY not in found.content:
        return ModelOptions()
    return files.read(found, lambda content, source: read_timm_config(content[_KEY], f"{_KEY} in {source}"))


def read_timm_config(config: Any, source: str) -> ModelOptions:
    """The options of timm's `mean`, `std` and `input_size`: RGB, with means of pixels in [0, 1]. Raises ValueError."""
    if not isinstance(config, dict):
        raise ValueError(f"{_KEY} is not an object")
    size, geometry = _read_size(config.get("input_size")), _read_geometry(config)
    if "mean" not in config or "std" not in config:
        return make_options(source, size=size, geometry=geometry)
    mean, std = parse_numbers(config["mean"], "mean"), parse_nonzero(config["std"], "std")
    return make_options(source, scale=1 / 255, mean=mean, std=std, color="RGB", size=size, geometry=geometry)


def _read_geometry(config: Mapping[str, Any]) -> str | None:
    """The crop and the interpolation of timm's evaluation, where they are not those of onnxspace."""
    crop = None if config.get("crop_pct") is None else parse_number(config["crop_pct"], "crop_pct")
    return describe_geometry(crop, str(config.get("interpolation")))


def _read_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("input_size does not hold channels, height and width")
    return parse_side(value[1], "input_size"), parse_side(value[2], "input_size")
