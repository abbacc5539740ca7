"""The images on which an artifact and its baseline look at different things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxspace.checking.observation import Observation
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.inputs.probes import Probes
from onnxspace.report.explanation import Column, Explanation
from onnxspace.storage.atomic import whole_file


def draw(file: Path, probes: Probes, images: Sequence[int], new: Observation, old: Observation, method: Method) -> None:
    """A row per image: the image, the map of the baseline where it is known, the map of the artifact. Raises OutputError."""
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
