"""Does a matrix of scores know which tasks are kin? Groups in its tree, and the places of related tasks in its rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.study.score_matrix import rank
from onnxspace.similarity.ranking import tree

Values = NDArray[np.float64]
DRAWS = 1000
#: Pairs of tasks that ask for the same: each is looked for among the other's sources.
KIN = (
    ("depth", "distance"), ("normals", "curvature"), ("autoencoding", "denoising"), ("autoencoding", "inpainting"),
    ("denoising", "inpainting"), ("edges2d", "keypoints2d"), ("edges3d", "keypoints3d"), ("semantic", "object"), ("object", "scene"),
)  # fmt: skip


def symmetrise(values: Values) -> Values:
    """A symmetric likeness with 1 on the diagonal of scores [tasks, tasks]: the scores where they are one, else mean places.

    A place is 1 for a target's best source and 0 for its worst; the two directions of a pair are averaged.
    """
    off = ~np.eye(len(values), dtype=bool)
    found = values.copy()
    np.fill_diagonal(found, 1.0)
    if not (np.abs(found[off]).max() <= 1 + 1e-6 and np.allclose(found, found.T, atol=1e-6)):
        found = 1 + (rank(np.where(off, values, np.nan)) + 1) / (len(values) - 2)
        np.fill_diagonal(found, 1.0)
    symmetric: Values = (found + found.T) / 2
    return symmetric


def link(values: Values) -> Values:
    """The tool's similarity tree: average linkage on 1 − likeness."""
    return tree(symmetrise(values))


@dataclass(frozen=True)
class Separation:
    """How well a cut of the tree agrees with the groups, and what the same cut reaches with the names dealt at random.

    `rand` is the adjusted Rand index (0 by chance, 1 if equal), `purity` the share of tasks in a cluster's commonest group,
    `random_purity` its mean over deals, `chance` the share of deals with a Rand index at least as large.
    """

    rand: float
    purity: float
    random_purity: float
    chance: float


def measure_separation(values: Values, groups: Sequence[str]) -> Separation:
    """The tree cut into as many clusters as there are groups."""
    from scipy.cluster.hierarchy import fcluster

    clusters = fcluster(link(values), len(set(groups)), "maxclust").astype(np.intp)
    _, numbers = np.unique(list(groups), return_inverse=True)
    rand, rng = compute_adjusted_rand(numbers, clusters), np.random.default_rng(0)
    deals = [rng.permutation(numbers) for _ in range(DRAWS)]
    as_good = np.mean([compute_adjusted_rand(deal, clusters) >= rand - 1e-12 for deal in deals])
    return Separation(
        rand,
        _compute_purity(numbers, clusters),
        float(np.mean([_compute_purity(deal, clusters) for deal in deals])),
        float(as_good),
    )


def compute_adjusted_rand(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Hubert and Arabie's index of two groupings by numbers from 0: 1 where they are equal, 0 in the mean over deals."""
    table = np.bincount(first * (int(second.max()) + 1) + second, minlength=1)
    both, one, other = (float((n * (n - 1)).sum()) for n in (table, np.bincount(first), np.bincount(second)))
    chance = one * other / max(len(first) * (len(first) - 1), 1)
    most = (one + other) / 2
    return (both - chance) / (most - chance) if most != chance else 1.0


def _compute_purity(numbers: NDArray[np.intp], clusters: NDArray[np.intp]) -> float:
    return sum(int(np.bincount(numbers[clusters == one]).max()) for one in np.unique(clusters)) / len(numbers)


def list_places(values: Values, names: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """For each pair of kin that is there, the place of the second among the sources of the first, and the other way round."""
    found = -rank(np.where(np.eye(len(names), dtype=bool), np.nan, values))
    at = {name: i for i, name in enumerate(names)}
    pairs = [(a, b) for a, b in KIN if a in at and b in at]
    return {(a, b): (round(found[at[a], at[b]]), round(found[at[b], at[a]])) for a, b in pairs}
