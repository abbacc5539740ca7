"""From affinities to answers: ranked sources per target, and the tree of all models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Linkage = Literal["average", "single"]


@dataclass(frozen=True)
class Ranking:
    """Sources of one target, best first, each with its affinity."""

    target: str
    sources: tuple[tuple[str, float], ...]

    def _repr_html_(self) -> str:
        """What a notebook shows: the sources as a coloured table."""
        from onnxspace.similarity.html import ranked_table

        return ranked_table(f"Sources for {self.target}, best first", self.sources)


def rank(names: Sequence[str], matrix: NDArray[np.float64], target: str) -> Ranking:
    """Every other model by its affinity to `target`, larger first, ties by position. Raises KeyError for an unknown name.

    The target is left out by identity, not by being first: a copy of it under another name stays in.
    """
    if target not in names:
        raise KeyError(target)
    row = list(names).index(target)
    order = [int(i) for i in np.argsort(-matrix[row], kind="stable") if i != row]
    return Ranking(target, tuple((names[i], float(matrix[row, i])) for i in order))


def tree(matrix: NDArray[np.float64], linkage: Linkage = "average") -> NDArray[np.float64]:
    """Agglomerative clustering as a SciPy linkage matrix [models − 1, 4].

    `average` joins on the distance 1 − a, of the mean of both directions; `single` on the Euclidean distance between rows of
    the affinity matrix, as in the paper. Needs at least two models.
    """
    from scipy.cluster.hierarchy import linkage as scipy_linkage
    from scipy.spatial.distance import pdist, squareform

    rows = np.asarray(matrix, dtype=np.float64)
    condensed = pdist(rows) if linkage == "single" else squareform(np.maximum(1.0 - (rows + rows.T) / 2, 0.0), checks=False)
    joined: NDArray[np.float64] = scipy_linkage(condensed, method=linkage)
    return joined
