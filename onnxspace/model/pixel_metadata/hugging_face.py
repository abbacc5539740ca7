"""Hugging Face's `preprocessor_config.json`: how an image processor of transformers prepares pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_presets import in_order
from onnxspace.inputs.preprocess import Color
from onnxspace.model.pixel_metadata.side_files import SideFiles
from onnxspace.model.pixel_metadata.values import (
    describe_geometry,
    make_options,
    parse_flag,
    parse_nonzero,
    parse_numbers,
    parse_scale,
    parse_side,
)

Config = Mapping[str, Any]
_IMAGE_KEYS = {"do_rescale", "do_resize", "do_normalize", "image_mean", "crop_size", "do_center_crop"}
_SIDES = ("height", "width", "shortest_edge")
#: Pillow's filters by number.
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: Processors that do more to values than their configuration states: colour clusters, a fixed order, statistics of each image.
_OTHER = ("ImageGPT", "LayoutLMv2", "Pix2Struct", "Tvlt")


def read_hugging_face(files: SideFiles) -> ModelOptions:
    """The options of `preprocessor_config.json` beside the model or above its folder `onnx`; none where it is not of images."""
    return files.read(files.find_json("preprocessor_config.json", above=True), read_processor)


def read_processor(config: Config, source: str) -> ModelOptions:
    """The options of a processor's configuration; none for audio, and for processors that configurations don't describe.

    Raises ValueError for values of another type.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    if not _IMAGE_KEYS & config.keys() or "sampling_rate" in config or kind.startswith(_OTHER):
        return ModelOptions()
    color: Color = "BGR" if _flag(config, "do_flip_channel_order", False) else "RGB"
    scale, offset = _read_rescaling(config)
    mean, std = _read_normalisation(config)
    size, geometry = _read_size(config), _read_geometry(config)
    if mean is None or std is None:
        return make_options(source, color=color, size=size, geometry=geometry)
    shifted = tuple(one - offset for one in mean)
    return make_options(
        source, scale=scale, mean=in_order(shifted, "RGB", color), std=in_order(std, "RGB", color), color=color,
        size=size, geometry=geometry,
    )  # fmt: skip


def _flag(config: Config, key: str, default: bool) -> bool:
    return default if config.get(key) is None else parse_flag(config[key], key)


def _read_rescaling(config: Config) -> tuple[float, float]:
    """Scale, and what is added after it (−1 with `rescale_offset`)."""
    if not _flag(config, "do_rescale", True):
        return 1.0, 0.0
    scale = parse_scale(config.get("rescale_factor", 1 / 255), "rescale_factor")
    return scale, -1.0 if _flag(config, "rescale_offset", False) else 0.0


def _read_normalisation(config: Config) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and standard deviation in the order RGB; None where the processor normalises by values that it does not state."""
    given = config.get("image_mean") is not None and config.get("image_std") is not None
    if not _flag(config, "do_normalize", given):
        return (0.0,), (1.0,)
    if not given:
        return None, None
    mean, std = parse_numbers(config["image_mean"], "image_mean"), parse_nonzero(config["image_std"], "image_std")
    if any(isinstance(config[key], list) and len(config[key]) == 1 for key in ("image_mean", "image_std")):
        raise ValueError("image_mean and image_std are of grey images")
    if _flag(config, "include_top", False):  # EfficientNet divides by it once more
        std = tuple(one * one for one in std)
    return mean, std


def _read_geometry(config: Config) -> str | None:
    """The central crop, as a share of the resized image's shorter side, and the interpolation, where they are not those of onnxspace."""
    whole, crop = (_shorter(config.get(key)) for key in ("size", "crop_size"))
    share = crop / whole if crop and whole and _flag(config, "do_center_crop", False) else None
    resample = config.get("resample")
    return describe_geometry(share, _RESAMPLING.get(resample) if type(resample) is int else None)


def _shorter(size: Any) -> int | None:
    """The shorter side of a size in a configuration; None where it states none."""
    values = [size] if isinstance(size, int) else [size.get(k) for k in _SIDES] if isinstance(size, dict) else []
    sides = [value for value in values if type(value) is int and value > 0]
    return min(sides, default=None)


def _read_size(config: Config) -> tuple[int, int] | None:
    """The size of the crop, or else of the resized image; None where it depends on the image."""
    key = "crop_size" if _flag(config, "do_center_crop", False) and config.get("crop_size") is not None else "size"
    found = config.get(key)
    if found is None or (key == "size" and not _flag(config, "do_resize", True)):
        return None
    if isinstance(found, dict):
        sides = [found.get("height", found.get("shortest_edge")), found.get("width", found.get("shortest_edge"))]
        if None in sides:
            return None
    else:
        sides = [found, found] if isinstance(found, int) else [None]
    if len(sides) != 2:
        raise ValueError(f"{key} is not a size")
    return parse_side(sides[0], key), parse_side(sides[1], key)
