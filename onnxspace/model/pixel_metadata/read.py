"""All that is written about a model's pixels, in the order in which it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from onnxspace.inputs.config import ModelOptions
from onnxspace.model.image_input import ImageInput
from onnxspace.model.pixel_metadata.custom_vision import read_custom_vision
from onnxspace.model.pixel_metadata.hugging_face import read_hugging_face
from onnxspace.model.pixel_metadata.image_metadata import read_image_metadata
from onnxspace.model.pixel_metadata.openvino import read_ir, read_model_api, read_zoo_file
from onnxspace.model.pixel_metadata.paddle import read_paddle
from onnxspace.model.pixel_metadata.provenance import read_provenance
from onnxspace.model.pixel_metadata.side_files import SideFiles
from onnxspace.model.pixel_metadata.timm import read_timm_file, read_timm_metadata
from onnxspace.model.pixel_metadata.ultralytics import read_ultralytics

_IN_FILE: tuple[Callable[[Mapping[str, str]], ModelOptions], ...] = (
    read_provenance, read_ultralytics, read_timm_metadata, read_model_api, read_image_metadata,
)  # fmt: skip
_BESIDE: tuple[Callable[[SideFiles], ModelOptions], ...] = (
    read_hugging_face, read_timm_file, read_paddle, read_custom_vision, read_zoo_file, read_ir,
)  # fmt: skip


def read_pixels(path: Path, metadata: Mapping[str, str], image: ImageInput) -> tuple[tuple[ModelOptions, ...], tuple[str, ...]]:
    """What the `metadata` of the model `path` and the files beside it state of its pixels, and warnings.

    The first statement counts. What contradicts the fixed sizes or the channels of `image` is left out: a file beside a model
    that describes other images is of another model.
    """
    files = SideFiles(path)
    found = [*_read_metadata(files, metadata, image)]
    for read in _BESIDE:
        options = read(files)
        why = _find_other_size(options, image) or _find_other_channels(options, image)
        if why is None:
            found.append(options)
        else:
            files.refuse(files.last, why)
    return tuple(one for one in found if one != ModelOptions()), tuple(files.warnings)


def _read_metadata(files: SideFiles, metadata: Mapping[str, str], image: ImageInput) -> Iterator[ModelOptions]:
    for read in _IN_FILE:
        try:
            options = read(metadata)
        except ValueError as error:
            files.warnings.append(f"{files.model}: its metadata is not used ({error}). State its pixels by --pixels.")
        else:
            fits = _find_other_channels(options, image) is None
            sized = replace(options, size=None) if _find_other_size(options, image) else options
            yield sized if fits else sized.without_range()


def _find_other_size(options: ModelOptions, image: ImageInput) -> str | None:
    """Why images of this size are not the network's; None where they may be."""
    pairs = zip((image.height, image.width), options.size or (None, None), strict=True)
    if all(None in pair or pair[0] == pair[1] for pair in pairs):
        return None
    height, width = options.size or (0, 0)
    return f"it describes images of {height}×{width} pixels, but the network takes {image.height or '?'}×{image.width or '?'}"


def _find_other_channels(options: ModelOptions, image: ImageInput) -> str | None:
    """Why images of these channels are not the network's; None where they may be."""
    if 3 in (len(options.mean or ()), len(options.std or ())) and image.channels != 3:
        return f"it describes images of three channels, but the network takes {image.channels}"
    if options.color == "GREY" and image.channels != 1:
        return f"it describes grey images, but the network takes {image.channels} channels"
    return None
