"""Baselines as images: uninformative pixels, preprocessed like any other image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from onnxspace.errors import ConfigError
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.methods import BASELINES
from onnxspace.inputs.probes import Probes

Pixels = NDArray[np.uint8]
#: Standard deviation of the blur as a fraction of the image's side: σ = 10 at 224 pixels, as in Fong and Vedaldi,
#: "Interpretable explanations of black boxes by meaningful perturbation", ICCV 2017.
BLUR = 10 / 224


def baseline_for(word: str | Path, probes: Probes) -> Callable[[Pixels], Pixels] | None:
    """Return the function from images to their baselines, both uint8 [images, size, size, bands]; None for `zero`.

    `word` is one of `BASELINES` or the path of an image file (`./blur` for a file called like a baseline); `probes` determine the
    mean colour and the size. Raises ConfigError for a `word` that is neither, ProbeError for an image that can't be read.
    """
    if word == "zero":
        return None
    if word == "blur":
        return _blur
    picture = _make_picture(word, probes)
    return lambda images: np.broadcast_to(picture, images.shape)


def _make_picture(word: str | Path, probes: Probes) -> Pixels:
    if word == "black":
        return np.zeros(probes.bands, np.uint8)
    if word == "mean":
        return _mean_colour(probes)
    if not Path(word).is_file():
        raise ConfigError(f"--baseline {str(word)!r} is not an image file. Give one, or one of {', '.join(BASELINES)}.")
    if probes.bands != 3:
        raise ConfigError(
            f"--baseline {word} has 3 bands, but the probe images have {probes.bands}. Use one of {', '.join(BASELINES)}."
        )
    return read_square(Path(word), probes.size)


def _mean_colour(probes: Probes) -> Pixels:
    """The mean colour of all pixels of all images: the mean image of a single image would be the image itself."""
    sums = np.sum([image.sum(axis=(0, 1), dtype=np.int64) for image in probes.images], axis=0)
    return np.asarray(np.rint(sums / (len(probes) * probes.size**2)), dtype=np.uint8)


def _blur(images: Pixels) -> Pixels:
    """Blur 8-bit pixels with Pillow, whose integer arithmetic gives the same bytes on every platform."""
    blur = ImageFilter.GaussianBlur(BLUR * images.shape[1])
    if images.shape[3] == 3:
        return np.stack([np.asarray(Image.fromarray(image).filter(blur), dtype=np.uint8) for image in images])
    planes = np.moveaxis(images, 3, 1).reshape(-1, *images.shape[1:3])
    blurred = np.stack([np.asarray(Image.fromarray(plane).filter(blur), dtype=np.uint8) for plane in planes])
    return np.ascontiguousarray(np.moveaxis(blurred.reshape(len(images), images.shape[3], *images.shape[1:3]), 1, 3))
