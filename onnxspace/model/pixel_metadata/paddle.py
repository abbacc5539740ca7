"""PaddleOCR's and PaddleX's `inference.yml`: the operations in front of the network, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Color
from onnxspace.model.pixel_metadata.side_files import SideFiles
from onnxspace.model.pixel_metadata.values import make_options, parse_nonzero, parse_numbers, parse_scale, parse_side

_NAMES = ("inference.yml", "inference.yaml")
_MOST_OPERATIONS = 100
Operations = Mapping[str, Mapping[str, Any]]


def read_paddle(files: SideFiles) -> ModelOptions:
    """The options of `inference.yml` beside the model, where it is `inference.onnx` or the only one there."""
    name = next(filter(files.has, _NAMES), None)
    if name is None or (files.model.stem != "inference" and files.siblings):
        return ModelOptions()
    return files.read(files.find_yaml(name), read_operations)


def read_operations(content: Mapping[str, Any], source: str) -> ModelOptions:
    """The options of `PreProcess.transform_ops`. Raises ValueError for values of another type.

    Means are in the order of the decoded image; recognisers normalise to [−1, 1] where they resize.
    """
    operations = dict(_list_operations(content))
    color = _read_color(operations)
    size = _read_size(operations)
    if "NormalizeImage" in operations:
        scale, mean, std = _read_normalisation(operations["NormalizeImage"])
        return make_options(source, scale=scale, mean=mean, std=std, color=color, size=size)
    if "RecResizeImg" in operations:
        return make_options(source, scale=1 / 127.5, mean=(1.0,), color=color, size=size)
    return make_options(source, color=color, size=size)


def _list_operations(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    part = content.get("PreProcess")
    listed = part.get("transform_ops") if isinstance(part, dict) else None
    if listed is None:
        return
    if not isinstance(listed, list) or len(listed) > _MOST_OPERATIONS:
        raise ValueError("PreProcess.transform_ops is not a list of operations")
    for one in listed:
        if not isinstance(one, dict) or len(one) != 1:
            raise ValueError("PreProcess.transform_ops is not a list of operations")
        ((name, values),) = one.items()
        yield str(name), values if isinstance(values, dict) else {}


def _read_color(operations: Operations) -> Color | None:
    mode = operations.get("DecodeImage", {}).get("img_mode")
    colors: Mapping[Any, Color] = {"BGR": "BGR", "RGB": "RGB", "GRAY": "GREY"}
    if mode is not None and (not isinstance(mode, str) or mode not in colors):
        raise ValueError("DecodeImage.img_mode is none of BGR, RGB and GRAY")
    return None if mode is None else colors[mode]


def _read_normalisation(values: Mapping[str, Any]) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    scale = parse_scale(1 / 255 if values.get("scale") is None else values["scale"], "NormalizeImage.scale")
    mean = parse_numbers(values.get("mean", [0.485, 0.456, 0.406]), "NormalizeImage.mean")
    return scale, mean, parse_nonzero(values.get("std", [0.229, 0.224, 0.225]), "NormalizeImage.std")


def _read_size(operations: Operations) -> tuple[int, int] | None:
    """The size that every image is brought to; None where it depends on the image, as in detection."""
    for name, key in (
        ("RecResizeImg", "image_shape"),
        ("CropImage", "size"),
        ("ResizeImage", "size"),
        ("Resize", "target_size"),
    ):
        if (found := operations.get(name, {}).get(key)) is not None:
            sides = found if isinstance(found, list) else [found, found]
            if len(sides) not in (2, 3):
                raise ValueError(f"{name}.{key} is not a size")
            height, width = sides[-2:] if name == "RecResizeImg" else sides[::-1][-2:]
            return parse_side(height, f"{name}.{key}"), parse_side(width, f"{name}.{key}")
    return None
