"""Scores of all pairs of models, from the files of each model's representations of the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.scores.registry import Kind
from onnxspace.similarity.per_image import PerImageRanks, PerImageShares
from onnxspace.storage.regular_files import map_array

Matrix = NDArray[np.float64]
Function = Callable[..., float]
#: The most images for scores that rank all pairs of images: 2 million pairs.
MOST_PAIRED = 2000
#: The most images whose outputs are predicted: 512 with 64 positions each.
MOST_PREDICTED = 512


@dataclass(frozen=True)
class Arrays:
    """One model's `.npy` files, None for those it does not have.

    Unit maps are [images, pixels], features and outputs [images, …], gradient fields [images, steps · pixels]. `lost` has the
    reason, a sentence, for each kind that could not be computed.
    """

    maps: Path | None = None
    features: Path | None = None
    fields: Path | None = None
    outputs: Path | None = None
    steps: int = 1
    lost: Mapping[Kind, str] = field(default_factory=dict)

    def load(self, kind: Kind) -> NDArray[Any] | None:
        """Open the array of this `kind`, memory-mapped; fields as [images, steps, pixels]. None where there is no file."""
        path: Path | None = getattr(self, kind)
        if path is None:
            return None
        found: NDArray[Any] = map_array(path)
        return found.reshape(len(found), self.steps, -1) if kind == "fields" else found


class ScoreMatrix(NamedTuple):
    """`matrix`, float64 [models, models], NaN where there is no score, and `why`, one sentence per reason.

    Models without the files that a score takes, which are fingerprints, are not mentioned. `details` are parameters and parts
    of the score, ready for JSON; `shares` hold per-image values of some targets, where the score keeps them. `chance` is the
    value by position of the target that its mean or most frequent answer gets, where the score has one.
    """

    matrix: Matrix
    why: tuple[str, ...]
    details: Mapping[str, Any] | None = None
    shares: Mapping[int, PerImageShares | PerImageRanks] | None = None
    chance: Mapping[int, float] | None = None


def score_pairs(
    score: Function, sides: Sequence[Sequence[NDArray[Any] | None]], names: Sequence[str], *, symmetric: bool = True,
    directed: bool = False,
) -> ScoreMatrix:  # fmt: skip
    """Compute `score(first kind of a, first kind of b, second kind of a, …)` for all models a and b.

    `sides` holds each model's arrays, one per kind, None for missing ones; `names` the models' names. A `symmetric` score is
    computed once per pair. A `directed` score is called as `score(first kind of a, second kind of b)`.
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
                matrix[i, j] = _finite_or_nan(score(*taken))
            except OnnxspaceError as error:
                why.setdefault(str(error), names[i] if i == j else f"{names[i]} and {names[j]}")
            except Exception as error:  # a failing plug-in must not discard the results of other scores
                why.setdefault(f"{type(error).__name__}: {error}", f"{names[i]} and {names[j]}")
    return ScoreMatrix(matrix, tuple(f"{who}: {sentence}" for sentence, who in why.items()))


def _finite_or_nan(value: Any) -> float:
    found = float(value)
    return found if np.isfinite(found) else float("nan")


def edges_matrix(models: Sequence[Arrays], names: Sequence[str]) -> ScoreMatrix:
    """Compute DEPARA's edge similarity of all pairs of `models`, from centred features."""
    from onnxspace.scores.pairs.depara import edges

    return score_pairs(edges, [[_sample_if_given(model.load("features"))] for model in models], names)


def sample_images(values: NDArray[Any], most: int = MOST_PAIRED) -> NDArray[Any]:
    """Return at most `most` of the images of `values` [images, …], evenly spaced."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(np.intp)]


def _sample_if_given(values: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if values is None else sample_images(values)


def unify_grids(sides: list[list[NDArray[Any] | None]]) -> list[list[NDArray[Any] | None]]:
    """Features for a score that takes positions as samples: unchanged where all have the same grid, else averaged over it."""
    there = [side[0] for side in sides if side[0] is not None]
    grids = {values.shape[2:] for values in there if values.ndim == 4}
    if len(grids) == 1 and all(values.ndim == 4 for values in there):
        return sides
    return [[None if side[0] is None else _average_positions(side[0])] for side in sides]


def svcca_matrix(svcca: Function, features: Sequence[NDArray[Any] | None], names: Sequence[str]) -> ScoreMatrix:
    """SVCCA of all pairs; each model's singular vectors are computed once, and `svcca` then keeps all of them."""
    kept = [None if values is None else left_singular_vectors(values) for values in features]
    return score_pairs(lambda a, b: svcca(a, b, variance=1.0), [[one] for one in kept], names)


def left_singular_vectors(values: NDArray[Any], variance: float = 0.99) -> Matrix:
    """Return the fewest left singular vectors of centred features that explain a share `variance`: float64 [samples, kept].

    `values` are features [images, …], or [images, channels, height, width] with positions as samples. The result is one column
    of zeros where they do not vary.
    """
    rows = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]) if values.ndim == 4 else values.reshape(len(values), -1)
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    noise = np.finfo(np.float64).eps * max(rows.shape)
    if sizes[0] <= noise * float(np.abs(rows).max()):
        return np.zeros((len(rows), 1))
    shares = np.cumsum(np.square(sizes)) / np.square(sizes).sum()
    enough = int(np.searchsorted(shares, variance - 1e-12)) + 1  # the sum of all shares may be rounded to just below 1
    found: Matrix = left[:, : min(enough, int(np.count_nonzero(sizes > noise * sizes[0])))]
    return found


def _average_positions(values: NDArray[Any]) -> NDArray[Any]:
    """Average [images, channels, height, width] or [images, tokens, channels] over positions: [images, channels]."""
    axes = tuple(range(2, values.ndim)) if values.ndim >= 4 else tuple(range(1, values.ndim - 1))
    found: NDArray[Any] = values.mean(axis=axes, dtype=np.float32) if axes else values
    return found


def balancing_weight(nodes: Matrix, edges: Matrix) -> float | None:
    """Return the λ that gives both parts of DEPARA equal weight: the ratio of their standard deviations.

    `nodes` and `edges` are float64 [models, models]; pairs of models that have both count. Returns None for fewer than three
    such pairs, or where one of the two does not vary.
    """
    rows, columns = np.triu_indices(len(nodes), 1)
    first, second = nodes[rows, columns], edges[rows, columns]
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return None
    spread = float(second[both].std())
    return float(first[both].std()) / spread if spread > 1e-9 and first[both].std() > 1e-9 else None
