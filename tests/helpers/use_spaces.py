"""Spaces of pictures, of made-up features and answers, entered below the part that needs Torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.content import hash_images, order_by_content
from onnxspace.scores.reduce import reduce_arrays
from onnxspace.similarity.fingerprints.count_sketch import project
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.fingerprints.reduced import Reduced, pack
from onnxspace.spaces.insert import insert_sheet
from onnxspace.storage.map_file import to_unit_maps
from onnxspace.workflows.space import Space
from tests.helpers import spaces

IMAGES, SIZE = 16, 6
PROBES = spaces.probes(IMAGES, SIZE)
ORDER = order_by_content(hash_images(PROBES.images))
FACTORS = np.random.default_rng(5).standard_normal((IMAGES, 6))


def use_space(place: Path, numbers: list[int] | None = None) -> Space:
    """A space of pictures with the models `numbers`."""
    made = Space.create(place, PROBES, keep_maps=False, detail="pictures")
    if numbers:
        insert_models(made.path, numbers)
    return made


def features(number: int) -> NDArray[np.float32]:
    """Features of model `number`, which has as much of the images' factors as it has noise: [images, 5, 8, 8]."""
    rng = np.random.default_rng(number)
    rows = FACTORS @ rng.standard_normal((6, 5)) + number % 7 * rng.standard_normal((IMAGES, 5))
    found: NDArray[np.float32] = (rows[:, :, None, None] + rng.standard_normal((IMAGES, 5, 8, 8))).astype(np.float32)
    return found


def outputs(number: int) -> NDArray[np.float32]:
    """What it answers: three classes, or five numbers where `number` is a multiple of 3."""
    rng = np.random.default_rng(1000 + number)
    values: NDArray[np.float32] = (FACTORS @ rng.standard_normal((6, 5 if number % 3 == 0 else 3))).astype(np.float32)
    return values if number % 3 == 0 else 9 * values


def reduced(number: int) -> Reduced:
    """The features and outputs of model `number` in little; those that are 8 more than a multiple of 20 have none."""
    if number % 20 == 8:
        return Reduced("pictures", ORDER)
    return reduce_arrays("pictures", ORDER, features(number), outputs(number), {})


def prints(number: int) -> NDArray[np.float16]:
    maps = to_unit_maps(np.random.default_rng(number).standard_normal((IMAGES, SIZE**2)))[0]
    return project(maps).astype("<f2")


def insert_models(home: Path, numbers: list[int]) -> None:
    """Enter models as fingerprints, in one sheet."""
    drafts = [spaces.draft(number, feed="") for number in numbers]
    insert_sheet(home, drafts, [prints(number) for number in numbers], [pack(reduced(number)) for number in numbers])


def fingerprint(number: int) -> Fingerprint:
    """The fingerprint of model `number`, as one that is not in the space."""
    return Fingerprint(
        f"stranger-{number}", f"{number + 10**6:064x}", "t", "elrp", PROBES.name, SIZE, PROBES.sha256, prints(number),
        reduced=reduced(number),
    )  # fmt: skip


def values_of(found: Any, name: str) -> dict[str, float]:
    """The values of the sources of a model."""
    return dict(found.rank(name).sources)
