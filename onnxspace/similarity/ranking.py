"""Rankings of sources per target, and the similarity tree of all models, from matrices of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.similarity.display import describe_ranking, render_ranking
from onnxspace.similarity.mean_rank import TIE
from onnxspace.similarity.reliability import Evidence, describe_reliability
from onnxspace.storage.data_frames import NUMBER, TEXT, WHOLE, make_frame

Linkage = Literal["average", "single"]


#: Scores that compare attribution maps: they list models that are alike, whatever the images are.
SCORES_OF_MAPS = ("attribution", "depara", "modelgif")
#: Columns of rankings in data frames.
COLUMNS = {
    "target": TEXT, "source": TEXT, "value": NUMBER, "place": WHOLE, "bracket": WHOLE, "by": TEXT, "evidence": TEXT,
}  # fmt: skip


@dataclass(frozen=True)
class Ranking:
    """`sources` of one `target`, best first: names and values of the score `by`.

    `evidence` says what the ranking knows of the target's task. `brackets` number the sources' groups from 1: sources of one
    group can't be told apart. `unranked` are the models without a value. `notes` are sentences about this ranking.
    """

    target: str
    sources: tuple[tuple[str, float], ...]
    by: str = "attribution"
    evidence: Evidence = "none"
    brackets: tuple[int, ...] = ()
    unranked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lists_kin(self) -> bool:
        """Whether the sources are models that are alike, rather than a recommendation of what to start from."""
        return self.evidence == "none" or self.by in SCORES_OF_MAPS

    @property
    def places(self) -> tuple[int, ...]:
        """The place of each source, from 1; equal values share one."""
        return tuple(first + 1 for first in _start_ties(self.sources))

    @property
    def title(self) -> str:
        """What the list is, in words."""
        if self.lists_kin:
            return f"Most alike to {self.target}, by {'affinity of maps' if self.by == 'attribution' else self.by}"
        return f"Sources for {self.target}, best first by {self.by}"

    def rows(self) -> list[tuple[str, str, float | None, int | None, int | None, str, str]]:
        """A row per source, best first, with the values of the columns of `to_dataframe`; None where there is no value."""
        known = [
            (*source, *place) for source, place in zip(self.sources, zip(self.places, self.brackets, strict=True), strict=True)
        ]
        every = [*known, *((source, None, None, None) for source in self.unranked)]
        return [(self.target, *row, self.by, self.evidence) for row in every]

    def to_dataframe(self) -> Any:
        """Return the ranking as a pandas DataFrame with a row per source, best first.

        Columns are `target`, `source`, `value` (of the score `by`, larger is better), `place` (from 1, equal values share one),
        `bracket` (sources of one bracket can't be told apart), `by` (the score's name) and `evidence`. Models without a value
        come last, with missing values. Raises MissingLibraryError where pandas is not installed.

        >>> found.rank("a").to_dataframe().source[0]  # doctest: +SKIP
        'b'
        """
        return make_frame(COLUMNS, self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Return the ranking as an object for `json.dumps`; models without a value come last, with null.

        >>> Ranking("a", (("b", 0.7),), brackets=(1,)).to_dict()["sources"]
        [{'source': 'b', 'value': 0.7, 'place': 1, 'bracket': 1}]
        """
        rows = [
            {"source": source, "value": value, "place": place, "bracket": bracket}
            for (source, value), place, bracket in zip(self.sources, self.places, self.brackets, strict=True)
        ]
        empty = [{"source": source, "value": None, "place": None, "bracket": None} for source in self.unranked]
        return {
            "by": self.by, "evidence": self.evidence, "reliability": describe_reliability(self.evidence, self.by),
            "sources": rows + empty, "notes": list(self.notes),
        }  # fmt: skip

    def __repr__(self) -> str:
        return describe_ranking(self.title, self.evidence, self.sources, self.unranked, self.notes)

    def _repr_html_(self) -> str:
        """The sources as a coloured table, and below it the evidence and notes, for notebooks."""
        reliability = describe_reliability("none" if self.lists_kin else self.evidence, self.by)
        notes = (f"Evidence: {self.evidence}. {reliability}", *self.notes)
        return render_ranking(self.title, self.by, self.sources, self.places, self.unranked, notes)


def _start_ties(sources: Sequence[tuple[str, float]]) -> list[int]:
    """The position of the first source with the value of each source."""
    starts: list[int] = []
    for place, (_, value) in enumerate(sources):
        tied = place > 0 and sources[starts[-1]][1] - value <= TIE
        starts.append(starts[-1] if tied else place)
    return starts


def bracket_ties(sources: Sequence[tuple[str, float]]) -> tuple[int, ...]:
    """Return the bracket of each of the `sources`, best first, where only equal values can't be told apart.

    >>> bracket_ties([("a", 0.5), ("b", 0.5), ("c", 0.1)])
    (1, 1, 2)
    """
    starts = _start_ties(sources)
    numbers = {start: number for number, start in enumerate(dict.fromkeys(starts), 1)}
    return tuple(numbers[start] for start in starts)


def replace_brackets(ranking: Ranking, brackets: tuple[int, ...]) -> Ranking:
    """Return the `ranking` with these `brackets` of its sources, or as it is where they are not of as many.

    >>> replace_brackets(Ranking("a", (("b", 0.5), ("c", 0.4)), brackets=(1, 2)), (1, 1)).brackets
    (1, 1)
    """
    return replace(ranking, brackets=brackets) if len(brackets) == len(ranking.sources) else ranking


def rank(names: Sequence[str], matrix: NDArray[np.float64], target: str) -> Ranking:
    """Rank all other models by their values in the row of `target`, one of `names`, largest first, ties by position.

    `matrix` is float64 [models, models] in the order of `names`, with targets as rows; models whose value is NaN are `unranked`.
    The target is excluded by name: a copy of it under another name stays in. Raises KeyError for an unknown target.

    >>> rank(["a", "b", "c"], np.array([[1, 0.2, 0.7], [0.2, 1, 0], [0.7, 0, 1]]), "a").sources
    (('c', 0.7), ('b', 0.2))
    """
    if target not in names:
        raise KeyError(target)
    row = list(names).index(target)
    order = [int(i) for i in np.argsort(-matrix[row], kind="stable") if i != row]
    sources = tuple((names[i], float(matrix[row, i])) for i in order if not np.isnan(matrix[row, i]))
    unranked = tuple(names[i] for i in order if np.isnan(matrix[row, i]))
    return Ranking(target, sources, brackets=bracket_ties(sources), unranked=unranked)


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
