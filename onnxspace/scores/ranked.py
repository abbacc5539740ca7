"""The one ranking of sources that several scores of labelled images give together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxspace.scores.brackets import assign_brackets
from onnxspace.scores.image_results import ImageResults
from onnxspace.scores.places import find_places, mean_rank


@dataclass(frozen=True)
class RankedSource:
    """A source in the ranking: its `value`, its `place` from 1, which equals share, and its `bracket`.

    Sources of one bracket can't be told apart: from 1, None where the ranking rests on no results of single images.
    `above_constant` is whether its features are better than a constant answer, None where that was not measured.
    """

    source: str
    value: float
    place: int
    bracket: int | None = None
    above_constant: bool | None = None


@dataclass(frozen=True)
class Basis:
    """What ranks: the mean rank of `scores` or, of a single one, its value; with `known`, also the rank by earlier results.

    `evidence` is what that rests on: `labels`, or `labels + known`.
    """

    scores: tuple[str, ...]
    known: bool = False
    evidence: str = "labels"

    @property
    def name(self) -> str:
        """Such as `mean_rank(knn, logme)`, `sfda`, or `mean_rank(sfda, known)`."""
        labels = self.scores[0] if len(self.scores) == 1 else f"mean_rank({', '.join(self.scores)})"
        return f"mean_rank({labels}, known)" if self.known else labels

    @property
    def words(self) -> str:
        """The same for people, such as `mean rank of knn and logme`."""
        names = ", ".join(self.scores[:-1]) + " and " + self.scores[-1] if len(self.scores) > 1 else self.scores[0]
        labels = f"mean rank of {names}" if len(self.scores) > 1 else names
        return f"mean of two ranks: by the {labels}, and by results elsewhere" if self.known else labels

    @property
    def is_mean_rank(self) -> bool:
        """Whether values are mean ranks, of which the smallest is best."""
        return self.known or len(self.scores) > 1


def choose_basis(by: Sequence[str], values: Mapping[str, Sequence[float]], known: Sequence[float] | None) -> Basis:
    """Return what ranks: the scores `by` that any model has (all, if none has), and `known` mean ranks where any has one."""
    usable = tuple(score for score in by if not np.isnan(values[score]).all()) or tuple(by)
    elsewhere = known is not None and not np.isnan(known).all()
    return Basis(usable, elsewhere, "labels + known" if elsewhere else "labels")


def rank_sources(
    names: Sequence[str],
    basis: Basis,
    values: Mapping[str, Sequence[float]],
    known: Sequence[float] | None,
    results: ImageResults,
) -> Iterator[RankedSource]:
    """Iterate over the sources `names`, best first, ties in their order; those without any value are left out.

    `values[score]` has a number per source, larger is better, NaN where it is missing; `known` its mean rank elsewhere, 1 is
    best.
    """
    columns = [list(values[score]) for score in basis.scores]
    merit = columns[0] if len(columns) == 1 else (-mean_rank(columns)).tolist()
    if basis.known and known is not None:
        merit = (-mean_rank([merit, [-rank for rank in known]])).tolist()
    places = find_places(merit)
    order = sorted((i for i, place in enumerate(places) if place is not None), key=lambda i: places[i] or 0)
    brackets = _find_brackets(results, basis.scores, order)
    for i in order:
        value = -merit[i] if basis.is_mean_rank else merit[i]
        yield RankedSource(names[i], float(value), places[i] or 0, brackets.get(i), results.is_above_constant(i))


def _find_brackets(results: ImageResults, scores: Sequence[str], order: Sequence[int]) -> dict[int, int]:
    """Brackets of the sources that have results of single images, by position."""
    means = results.average(scores)
    if means is None:
        return {}
    measured = [i for i in order if not np.isnan(means[0, i])]
    return dict(zip(measured, assign_brackets(means, measured), strict=True))
