"""A picture of the images on which the maps of an artifact and its baseline differ most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxspace.checking.observation import Observation
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.inputs.probes import Probes
from onnxspace.report.explanation import Column, Explanation
from onnxspace.storage.atomic import whole_file


def draw_differences(
    file: Path, probes: Probes, images: Sequence[int], new: Observation, old: Observation, method: Method
) -> None:
    """Draw a PNG with a row per image: the image, the baseline's map where it has one, and the artifact's map.

    `images` are indices into `probes`; `new` and `old` are the observations of the artifact and the baseline by `method`.
    Raises OutputError.
    """
    from onnxspace.report.gallery import draw_explanation

    sides = [("baseline", old), (new.facts.name, new)]
    columns = tuple(
        Column(
            name,
            method,
            METHODS[method].signed,
            np.asarray(side.maps[list(images)], np.float32).reshape(-1, probes.size, probes.size),
        )
        for name, side in sides
        if side.maps is not None
    )
    names = tuple(f"image {image}" for image in images)
    with whole_file(file) as partial:
        draw_explanation(Explanation(names, probes.images[list(images)], columns, {}, (), ()), partial)
