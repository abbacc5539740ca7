"""OpenVINO's side files: `model.yml` of its model zoo, the `.xml` of an IR of the same name, and Model API's entries in metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Color
from onnxspace.model.pixel_metadata.side_files import SideFiles
from onnxspace.model.pixel_metadata.values import make_options, parse_flag, parse_list, parse_nonzero, parse_numbers, parse_side

_KEYS = ("mean_values", "scale_values", "reverse_input_channels", "input_shape", "scale")
_PREFIX = "model_info "


def read_model_api(metadata: Mapping[str, str]) -> ModelOptions:
    """The options of Model API's entries, `model_info mean_values` and others. Raises ValueError."""
    entries = {key.removeprefix(_PREFIX): value for key, value in metadata.items() if key.startswith(_PREFIX)}
    return read_arguments(entries, "Model API's entries in its metadata")


def read_zoo_file(files: SideFiles) -> ModelOptions:
    """The options of `model.yml` beside the model, where it names the model's file, or the model is the only one there."""
    found = files.find_yaml("model.yml")
    if found is None or (files.siblings and files.model.name not in _list_files(found.content)):
        return ModelOptions()
    return files.read(found, lambda content, source: read_arguments(dict(_split_arguments(content)), source))


def read_ir(files: SideFiles) -> ModelOptions:
    """The options that an IR of the model's name, `net.xml` beside `net.onnx`, was converted with."""
    return files.read(
        files.find_xml(f"{files.model.stem}.xml"), lambda root, source: read_arguments(dict(_find_entries(root)), source)
    )


def read_arguments(entries: Mapping[str, str], source: str) -> ModelOptions:
    """The options of the arguments of OpenVINO's converter, by name: `(pixel − mean) / scale`, in the network's order.

    The channels of a network that are reversed for OpenCV's BGR are in the order RGB; others don't state theirs. Raises ValueError.
    """
    reverse = entries.get("reverse_input_channels")
    color: Color | None = (
        "RGB" if reverse is not None and (reverse == "" or parse_flag(reverse, "reverse_input_channels")) else None
    )
    size = _read_shape(entries.get("input_shape", ""))
    stated = [key for key in ("mean_values", "scale_values", "scale") if entries.get(key)]
    if not stated:
        return make_options(source, color=color, size=size)
    mean = parse_numbers(parse_list(entries.get("mean_values") or "0", "mean_values"), "mean_values")
    divisor = entries.get("scale_values") or entries.get("scale") or "1"
    std = parse_nonzero(parse_list(divisor, "scale_values"), "scale_values")
    return make_options(f"{' and '.join(stated)} in {source}", scale=1.0, mean=mean, std=std, color=color, size=size)


def _read_shape(text: str) -> tuple[int, int] | None:
    sizes = [int(value) for value in parse_list(text, "input_shape")] if text[:1] == "[" else []
    if len(sizes) != 4 or not (sizes[1] in (1, 3) or sizes[3] in (1, 3)):
        return None
    height, width = sizes[2:] if sizes[1] in (1, 3) else sizes[1:3]
    return parse_side(height, "input_shape"), parse_side(width, "input_shape")


def _list_files(content: Mapping[str, Any]) -> set[str]:
    listed = content.get("files")
    names = (one.get("name") for one in (listed if isinstance(listed, list) else [])[:1000] if isinstance(one, dict))
    return {PurePosixPath(str(name)).name for name in names}


def _split_arguments(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The arguments `--mean_values=data[1,2,3]`, by name without the dashes; the shape of a single input is under `input_info`."""
    inputs = content.get("input_info")
    if isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict):
        yield "input_shape", str(inputs[0].get("shape", ""))
    listed = content.get("model_optimizer_args", [])
    if not isinstance(listed, list):
        raise ValueError("model_optimizer_args is not a list")
    for one in listed[:1000]:
        name, _, value = str(one).removeprefix("--").partition("=")
        yield name, value


def _find_entries(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """The entries of `meta_data` and `rt_info` by name, as they were written by different versions."""
    for part in (*root.iterfind("meta_data"), *root.iterfind("rt_info")):
        for element in part.iter():
            if element.tag in _KEYS and "value" in element.attrib:
                yield str(element.tag), element.attrib["value"]
