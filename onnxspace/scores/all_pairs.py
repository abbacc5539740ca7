"""A score of every two models, from the files that each has of the same images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.scores.registry import SCORES, Kind, ScoreSpec
from onnxspace.scores.selection import PREDICTIVITY
from onnxspace.similarity.per_image import PerImageShares

Matrix = NDArray[np.float64]
Function = Callable[..., float]
#: Scores that rank all pairs of images take at most so many images, evenly spaced: 2 million pairs.
MOST_PAIRED = 2000
PAIRED = ("rsa", "depara")
#: Images whose outputs are predicted, evenly spaced: 512 of 64 positions each.
MOST_PREDICTED = 512


@dataclass(frozen=True)
class Arrays:
    """One model's `.npy` files: unit maps [images, pixels], features and outputs [images, …], fields [images, steps · pixels] of `steps`.

    None is what it does not have.
    """

    maps: Path | None = None
    features: Path | None = None
    fields: Path | None = None
    outputs: Path | None = None
    steps: int = 1

    def load(self, kind: Kind) -> NDArray[Any] | None:
        """Memory-mapped; fields as [images, steps, pixels]."""
        path: Path | None = getattr(self, kind)
        if path is None:
            return None
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found.reshape(len(found), self.steps, -1) if kind == "fields" else found


class Scored(NamedTuple):
    """`matrix` float64 [models, models], NaN where there is no score, and `why` in sentences.

    A model without the files that a score takes, which is a fingerprint, needs no sentence.
    """

    matrix: Matrix
    why: tuple[str, ...]


def score_matrix(name: str, spec: ScoreSpec, models: Sequence[Arrays], names: Sequence[str]) -> Scored:
    """A score of this registry name of all pairs; a pair that has none does not stop the others.

    Rows are targets and columns sources, which differs in a score in one direction only.
    """
    sides = [[model.load(kind) for kind in spec.arrays] for model in models]
    if name == PREDICTIVITY:
        return predictivities(sides, names)
    if name == "svcca":
        return _svcca(spec.load(), [side[0] for side in _gridded(sides)], names)
    if name in PAIRED:
        sides = [[_some(values) for values in side] for side in sides]
    return fill(spec.load(), sides, names, symmetric=name in SCORES, directed=spec.directed)


def fill(
    score: Function, sides: Sequence[Sequence[NDArray[Any] | None]], names: Sequence[str], *, symmetric: bool = True,
    directed: bool = False,
) -> Scored:  # fmt: skip
    """`score(first kind of a, first kind of b, second kind of a, …)` for all models a and b.

    Where it is `directed`, `score(first kind of a, second kind of b)`.
    """
    matrix = np.full((len(sides), len(sides)), np.nan)
    there = [i for i, side in enumerate(sides) if all(values is not None for values in side)]
    why: dict[str, str] = {}
    for i in there:
        for j in there:
            if symmetric and j < i:
                matrix[i, j] = matrix[j, i]
                continue
            try:
                both = zip(sides[i], sides[j], strict=True)
                taken = (sides[i][0], sides[j][1]) if directed else (values for two in both for values in two)
                matrix[i, j] = _number(score(*taken))
            except OnnxspaceError as error:
                why.setdefault(str(error), names[i] if i == j else f"{names[i]} and {names[j]}")
            except Exception as error:  # a score of another package must not lose what the others give
                why.setdefault(f"{type(error).__name__}: {error}", f"{names[i]} and {names[j]}")
    return Scored(matrix, tuple(f"{who}: {sentence}" for sentence, who in why.items()))


def predictivities(
    sides: Sequence[Sequence[NDArray[Any] | None]], names: Sequence[str], known: dict[int, PerImageShares] | None = None,
    doubted: Collection[int] = (),
) -> Scored:  # fmt: skip
    """`predictivity` of each target's outputs from each source's features; both are prepared once.

    What the values of the targets in `doubted` are made of is entered in `known`.
    """
    from onnxspace.scores.pairs.predictivity import Answers, Source

    matrix, why = np.full((len(sides), len(sides)), np.nan), []
    asked: dict[int, Answers] = {}
    for i, (outputs, _) in enumerate(sides):
        try:
            asked |= {} if outputs is None else {i: Answers.of(paired(outputs, MOST_PREDICTED))}
        except OnnxspaceError as error:
            why.append(f"{names[i]}: {error}")
    for j, (_, features) in enumerate(sides):
        try:
            found = [] if features is None else Source(paired(features, MOST_PREDICTED)).parts(list(asked.values()))
        except OnnxspaceError as error:
            why.append(f"{names[j]}: {error}")
            continue
        for i, parts in zip(asked, found, strict=False):
            matrix[i, j] = parts.share
            if known is not None and i in doubted:
                one = known.setdefault(i, PerImageShares(*np.zeros((2, len(parts.missed), len(sides)))))
                one.missed[:, j], one.there[:, j] = parts
    return Scored(matrix, tuple(why))


def _number(value: Any) -> float:
    found = float(value)
    return found if np.isfinite(found) else float("nan")


def edges_matrix(models: Sequence[Arrays], names: Sequence[str]) -> Scored:
    """DEPARA's edges of all pairs: which images are alike, by centred features."""
    from onnxspace.scores.pairs.depara import edges

    return fill(edges, [[_some(model.load("features"))] for model in models], names)


def paired(values: NDArray[Any], most: int = MOST_PAIRED) -> NDArray[Any]:
    """At most `most` of the images, evenly spaced."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(np.intp)]


def _some(values: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if values is None else paired(values)


def _gridded(sides: list[list[NDArray[Any] | None]]) -> list[list[NDArray[Any] | None]]:
    """Features for a score that takes positions as samples: as they are where all models have one grid, else means over it."""
    there = [side[0] for side in sides if side[0] is not None]
    grids = {values.shape[2:] for values in there if values.ndim == 4}
    if len(grids) == 1 and all(values.ndim == 4 for values in there):
        return sides
    return [[None if side[0] is None else _means(side[0])] for side in sides]


def _svcca(svcca: Function, features: Sequence[NDArray[Any] | None], names: Sequence[str]) -> Scored:
    """SVCCA of all pairs, each model's singular vectors computed once: of these, `svcca` takes all."""
    kept = [None if values is None else directions(values) for values in features]
    return fill(lambda a, b: svcca(a, b, variance=1.0), [[one] for one in kept], names)


def directions(values: NDArray[Any], variance: float = 0.99) -> Matrix:
    """The fewest left singular vectors of centred features that hold a share of their variance: float64 [samples, kept].

    Features are [images, …], or [images, channels, height, width] with positions as samples. One column of zeros where they
    never vary.
    """
    rows = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]) if values.ndim == 4 else values.reshape(len(values), -1)
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    noise = np.finfo(np.float64).eps * max(rows.shape)
    if sizes[0] <= noise * float(np.abs(rows).max()):
        return np.zeros((len(rows), 1))
    shares = np.cumsum(np.square(sizes)) / np.square(sizes).sum()
    enough = int(np.searchsorted(shares, variance - 1e-12)) + 1  # the sum of all shares may round to just below 1
    found: Matrix = left[:, : min(enough, int(np.count_nonzero(sizes > noise * sizes[0])))]
    return found


def _means(values: NDArray[Any]) -> NDArray[Any]:
    """[images, channels, height, width] and [images, tokens, channels] as [images, channels]."""
    axes = tuple(range(2, values.ndim)) if values.ndim >= 4 else tuple(range(1, values.ndim - 1))
    found: NDArray[Any] = values.mean(axis=axes, dtype=np.float32) if axes else values
    return found


def balance(nodes: Matrix, edges: Matrix) -> float | None:
    """λ at which both have an equal say: the ratio of the standard deviations of the two, over all pairs of models that have both.

    None where fewer than three pairs have, or one of the two never varies.
    """
    rows, columns = np.triu_indices(len(nodes), 1)
    first, second = nodes[rows, columns], edges[rows, columns]
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return None
    spread = float(second[both].std())
    return float(first[both].std()) / spread if spread > 1e-9 and first[both].std() > 1e-9 else None
