"""Whether probe images have the bands that a model takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError
from onnxspace.inputs.bands import BandPreprocess
from onnxspace.model.model import Model
from onnxspace.storage.short_text import count


def refuse_unfit(model: Model, images: NDArray[np.uint8]) -> None:
    """Raise ModelError where the probe `images`, uint8 [images, size, size, bands], lack bands that `model` takes.

    The sentence says what `model` takes and how to state it.
    """
    bands = int(images.shape[3])
    if (lacking := _find_mismatch(model, bands)) is not None:
        raise ModelError(f"{model.path} {lacking}")


def _find_mismatch(model: Model, bands: int) -> str | None:
    preprocess = model.preprocess
    if not isinstance(preprocess, BandPreprocess):
        return None if bands == 3 else _describe_plain(preprocess.channels, bands)
    if model.exact_bands not in (None, bands):
        return _describe_exact(model, bands)
    if max(preprocess.bands) < bands:
        return None
    return (
        f"takes band {max(preprocess.bands)} of the probe images, but they have {bands}, counted from 0. Give images of more bands "
        "with --probe (TIFF, or a .npy array), or state others as `bands` in onnxspace.toml."
    )


def _describe_plain(channels: int, bands: int) -> str:
    return (
        f"takes {'grey' if channels == 1 else 'RGB'} images, but the probe images have {count(bands, 'band')}. "
        f"State which of them it takes as `bands` in onnxspace.toml, such as bands = {list(range(channels))}."
    )


def _describe_exact(model: Model, bands: int) -> str:
    frames = 1 if model.arrangement is None else model.arrangement.frames
    if frames > 1:
        return (
            f"takes videos of {frames} frames, {model.exact_bands} channels together, but the probe images have {bands}. Give videos "
            "with --probe (a .npy array [videos, frames, height, width, channels]), or state `still = true` in onnxspace.toml, which "
            "repeats each image."
        )
    return (
        f"takes images of {model.exact_bands} channels, but the probe images have {count(bands, 'band')}. State which of them go into "
        "these as `bands` in onnxspace.toml, or give images of as many bands with --probe (TIFF, or a .npy array)."
    )
