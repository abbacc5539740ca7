"""Rankings of sources per target, and the similarity tree of all models, from affinities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Linkage = Literal["average", "single"]


@dataclass(frozen=True)
class Ranking:
    """`sources` of one `target`, best first: names and affinities."""

    target: str
    sources: tuple[tuple[str, float], ...]

    def _repr_html_(self) -> str:
        """The sources as a coloured table, for notebooks."""
        from onnxspace.similarity.html import render_ranked_table

        return render_ranked_table(f"Sources for {self.target}, best first", self.sources)


def rank(names: Sequence[str], matrix: NDArray[np.float64], target: str) -> Ranking:
    """Rank all other models by affinity to `target`, one of `names`, largest first, ties by position.

    `matrix` is float64 [models, models] in the order of `names`, with targets as rows. The target is excluded by name: a copy
    of it under another name stays in. Raises KeyError for an unknown target.

    >>> rank(["a", "b", "c"], np.array([[1, 0.2, 0.7], [0.2, 1, 0], [0.7, 0, 1]]), "a").sources
    (('c', 0.7), ('b', 0.2))
    """
    if target not in names:
        raise KeyError(target)
    row = list(names).index(target)
    order = [int(i) for i in np.argsort(-matrix[row], kind="stable") if i != row]
    return Ranking(target, tuple((names[i], float(matrix[row, i])) for i in order))


def tree(matrix: NDArray[np.float64], linkage: Linkage = "average") -> NDArray[np.float64]:
    """Cluster models agglomeratively by affinities, float64 [models, models]; returns a SciPy linkage matrix [models − 1, 4].

    `average` linkage uses the distance 1 − a, with a averaged over both directions; `single` linkage the Euclidean distance
    between rows of the matrix, as in Song et al., NeurIPS 2019. Needs at least two models.
    """
    from scipy.cluster.hierarchy import linkage as scipy_linkage
    from scipy.spatial.distance import pdist, squareform

    rows = np.asarray(matrix, dtype=np.float64)
    condensed = pdist(rows) if linkage == "single" else squareform(np.maximum(1.0 - (rows + rows.T) / 2, 0.0), checks=False)
    joined: NDArray[np.float64] = scipy_linkage(condensed, method=linkage)
    return joined
