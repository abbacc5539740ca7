"""All that is written about a model's pixels, in the order in which it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isclose
from pathlib import Path

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_presets import describe_lines, name_range
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
    stated = tuple(one for one in found if one != ModelOptions())
    return stated, (*files.warnings, *_list_contradictions(path, stated))


def _list_contradictions(path: Path, stated: Sequence[ModelOptions]) -> Iterator[str]:
    """Sentences on statements whose range is another than that of the first, which counts."""
    ranged = [one for one in stated if one.scale is not None]
    for other in ranged[1:]:
        if not _have_one_range(ranged[0], other):
            first, second = (f"{one.source} ({_name_range(one)})" for one in (ranged[0], other))
            yield f"{path}: {first} and {second} contradict each other on its pixels; the former counts. Correct one of them, or state the pixels by --pixels."


def _have_one_range(a: ModelOptions, b: ModelOptions) -> bool:
    one, other = (describe_lines(x.scale or 1.0, x.mean or (0.0,), x.std or (1.0,), x.color) for x in (a, b))
    return all(isclose(x, y, rel_tol=1e-3, abs_tol=1e-6) for x, y in zip(one, other, strict=True))


def _name_range(options: ModelOptions) -> str:
    scale, mean, std = options.scale or 1.0, options.mean or (0.0,), options.std or (1.0,)
    low, high = ((end * scale - mean[0]) / std[0] + 0.0 for end in (0, 255))
    return name_range(scale, mean, std, options.color or "RGB") or f"[{low:.3g}, {high:.3g}]"


def _read_metadata(files: SideFiles, metadata: Mapping[str, str], image: ImageInput) -> Iterator[ModelOptions]:
    for read in _IN_FILE:
        try:
            options = read(metadata)
        except ValueError as error:
            files.warnings.append(f"{files.model}: its metadata is not used ({error}). State its pixels by --pixels.")
        else:
            if (why := _find_other_size(options, image)) is not None:
                files.warnings.append(f"{files.model}: the size in its metadata is not used ({why}). Export it again.")
                options = replace(options, size=None)
            if (why := _find_other_channels(options, image)) is not None:
                files.warnings.append(
                    f"{files.model}: the range in its metadata is not used ({why}). State its pixels by --pixels."
                )
                options = replace(options.without_range(), color=None)
            yield options


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
