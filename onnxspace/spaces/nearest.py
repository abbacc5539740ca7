"""Which models of a space are nearest to a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.countsketch import affinities, flatten
from onnxspace.search import nearest
from onnxspace.spaces.catalogue import Listed
from onnxspace.spaces.facts import Made
from onnxspace.spaces.files import open_stem
from onnxspace.spaces.pack import Pack, packed

_AT_ONCE = 4096  # models whose fingerprints are held together
_MORE = 16  # models that are looked at again: rows are rounded to float16


@dataclass(frozen=True)
class Neighbour:
    """A model of the space, its affinity as its fingerprint tells it, and the standard error of that."""

    name: str
    affinity: float
    error: float


def neighbours(
    folder: Path, made: Made, models: Sequence[Listed], prints: NDArray[np.floating[Any]], count: int
) -> tuple[Neighbour, ...]:
    """The `count` models nearest to `prints`, [images, numbers], best first.

    One pass over the packed fingerprints proposes some more than that; the fingerprints' own files decide.
    """
    pack = packed(folder, made, models)
    proposed = list(range(len(models))) if pack is None else _proposed(pack, models, prints, count + _MORE)
    values = np.empty((2, len(proposed)))
    for first in range(0, len(proposed), _AT_ONCE):
        part = proposed[first : first + _AT_ONCE]
        many = np.stack([open_stem(folder, models[i].stem, made) for i in part])
        values[:, first : first + _AT_ONCE] = np.stack(affinities(prints[None], many))[:, 0]
    order = np.argsort(-values[0], kind="stable")[:count]
    return tuple(Neighbour(models[proposed[i]].name, float(values[0, i]), float(values[1, i])) for i in order)


def _proposed(pack: Pack, models: Sequence[Listed], prints: NDArray[np.floating[Any]], count: int) -> list[int]:
    """Positions of the models whose rows are nearest; rows of models that are not asked for are passed over."""
    place = {pack.rows[model.key]: i for i, model in enumerate(models)}
    idle = len(pack.matrix) - len(place)
    rows, _ = nearest(flatten(prints[None])[0], pack.matrix, count + idle)
    return [place[int(row)] for row in rows if int(row) in place][:count]
