"""The images whose outputs differ most, and the maps of both models for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.arrays import to_rgb
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.probes import Probes

#: Images on a page, and the longest side of their pictures in pixels.
IMAGES, SIDE = 3, 160


@dataclass(frozen=True, eq=False)
class PagePictures:
    """Images of a page: their places among the probe images, and pixels uint8 [images, size, size, bands].

    `maps` are those of the old and of the new model, float64 [images, size, size] each in units of their root mean square, and none
    where they were not made; `note` says why.
    """

    places: tuple[int, ...]
    images: NDArray[np.uint8]
    maps: tuple[NDArray[np.float64], ...] = ()
    method: str = ""
    signed: bool = True
    note: str = ""


def choose_images(errors: Sequence[float | None], images: int, count: int = IMAGES) -> tuple[int, ...]:
    """The images with the largest errors, those with values that are not finite before others; the first ones where none are known.

    >>> choose_images([0.1, 0.3, None, 0.2], 4, 3)
    (2, 1, 3)
    """
    if not errors:
        return tuple(range(min(count, images)))
    worst = sorted(range(len(errors)), key=lambda i: -(float("inf") if (error := errors[i]) is None else error))
    return tuple(worst[:count])


def take_pictures(probes: Probes, errors: Sequence[float | None]) -> PagePictures:
    """The images of `probes` whose outputs differ most, without maps."""
    places = choose_images(errors, len(probes))
    return PagePictures(places, probes.images[list(places)])


def add_maps(
    pictures: PagePictures, models: Sequence[tuple[Path, str]], probes: Probes, configuration: Config, execution: Execution
) -> PagePictures:
    """Add the maps of both models; where one can't be explained, say why instead."""
    from onnxspace.workflows.explain import explain_probes

    chosen = replace(probes, images=np.ascontiguousarray(pictures.images), remarks=())
    try:
        columns = explain_probes(models, chosen, configuration, execution)
    except OnnxspaceError as error:
        return replace(pictures, note=f"There are no attribution maps: {error}")
    scaled = tuple(column.scaled() for column in columns)
    return replace(pictures, maps=scaled, method=columns[0].method, signed=columns[0].signed)


def shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of at most SIDE pixels."""
    side = min(SIDE, len(picture))
    return np.asarray(Image.fromarray(to_rgb(picture)).resize((side, side), Image.Resampling.LANCZOS))
