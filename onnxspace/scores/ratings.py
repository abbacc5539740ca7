"""The result of rating models on labelled images: a ranking, and a value per score and model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.scores.display import describe_ratings, render_ratings
from onnxspace.scores.image_results import ImageResults
from onnxspace.scores.places import find_places
from onnxspace.scores.ranked import Basis, RankedSource, choose_basis, rank_sources
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import describe_reliability
from onnxspace.storage.csv_text import format_csv
from onnxspace.storage.data_frames import NUMBER, TEXT, WHOLE, make_frame

SCHEMA = "onnxspace/transfer/2"
_COLUMNS = {"model": TEXT, "place": WHOLE, "bracket": WHOLE, "value": NUMBER, "by": TEXT, "evidence": TEXT}


@dataclass(frozen=True)
class EnsembleChoice:
    """The models of an ensemble, in the order of selection, and SFDA of the ensemble after each."""

    models: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Ratings:
    """`values[score]` has a number per model, in the order of `models`; larger is better, NaN where it could not be computed.

    `why` holds the reasons, by score and name of the model. `data` describes the labelled images. `known` holds each model's
    mean rank on other datasets, where a table of known results was given: 1 is best, NaN for a model that it lacks.

    `by` are the scores that rank, by their mean rank if there are several (empty: the first score). With `known`, the ranking is
    by the mean of that rank and the one elsewhere. `results` has what knn and linear_probe give for each image.
    """

    models: tuple[ModelRecord, ...]
    values: Mapping[str, tuple[float, ...]]
    data: Mapping[str, Any]
    why: Mapping[tuple[str, str], str] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    ensemble: EnsembleChoice | None = None
    known: tuple[float, ...] | None = None
    by: tuple[str, ...] = ()
    results: ImageResults = field(default_factory=ImageResults)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def basis(self) -> Basis:
        """What ranks: the scores `by` that could be computed, and whether known results are among it."""
        return choose_basis(self.by or self.scores[:1], self.values, self.known)

    @cached_property
    def ranked(self) -> tuple[RankedSource, ...]:
        """The models, best first, with value, place and bracket; equals share a place. Those without a value are left out.

        A value is that of the score that ranks, larger is better; where there are several, the mean rank, 1 is best.
        """
        return tuple(rank_sources(self.names, self.basis, self.values, self.known, self.results))

    @property
    def findings(self) -> tuple[str, ...]:
        """What the ranking can't say, a sentence each: no better than chance, no differences, features without use."""
        return tuple(_describe_findings(self))

    def ranking(self, score: str) -> tuple[tuple[str, float], ...]:
        """Return models and their values of `score`, best first, ties in the order of `models`, omitting missing values.

        Raises ConfigError for a score that was not computed.

        >>> rated.ranking("logme")[0]  # doctest: +SKIP
        ('a', 0.62)
        """
        if score not in self.values:
            raise ConfigError(f"No score {score!r} was computed; there are {', '.join(self.values) or 'none'}.")
        pairs = [pair for pair in zip(self.names, self.values[score], strict=True) if not math.isnan(pair[1])]
        return tuple(sorted(pairs, key=lambda pair: -pair[1]))

    def places(self, score: str) -> dict[str, int]:
        """Return each model's place by `score`, from 1, best first; equals share the best of their places.

        Values within rounding are equal. Raises ConfigError for a score that was not computed.

        >>> rated.places("logme")  # doctest: +SKIP
        {'a': 1, 'b': 2}
        """
        order = self.ranking(score)
        places = find_places([value for _, value in order])
        return {name: place for (name, _), place in zip(order, places, strict=True) if place is not None}

    def to_csv(self) -> str:
        """Format as CSV: a row per model with place, bracket, ranking value and a column per score, empty for missing values.

        Numbers round-trip exactly.

        >>> Path("ratings.csv").write_text(rated.to_csv())  # doctest: +SKIP
        """
        ranked = {one.source: one for one in self.ranked}
        rows: list[list[object]] = [
            ["model", *self.values, *(["known"] if self.known else []), "place", "bracket", self.basis.name]
        ]
        columns = [*self.values.values(), *([self.known] if self.known else [])]
        for name, row in zip(self.names, zip(*columns, strict=True), strict=True):
            mine = ranked.get(name)
            last = ("", "", "") if mine is None else (mine.place, mine.bracket or "", repr(mine.value))
            rows.append([name, *("" if math.isnan(value) else repr(value) for value in row), *last])
        return format_csv(rows)

    @property
    def reliability(self) -> str:
        """A sentence on how good such rankings were where the truth is known."""
        return describe_reliability("known" if self.basis.known else "labels", self.basis.name)

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per model, best first, and those that can't be ranked at the end.

        Columns are `model`, `place` (from 1, equal values share one), `bracket` (models of one bracket can't be told apart),
        `by` (what ranks) with its `value`, `evidence`, and one for each score, where larger is better; with known results
        also `known`, the mean rank on other datasets. Raises MissingLibraryError where pandas is not installed.

        >>> ox.rate(["a.onnx", "b.onnx"], "labelled").to_dataframe()[["model", "logme"]]  # doctest: +SKIP
        """
        scores = {**self.values, **({} if self.known is None else {"known": self.known})}
        values = {name: [column[i] for column in scores.values()] for i, name in enumerate(self.names)}
        basis = (self.basis.name, self.basis.evidence)
        ranked = [(one.source, one.place, one.bracket, one.value, *basis, *values.pop(one.source)) for one in self.ranked]
        rest = [(name, None, None, None, *basis, *row) for name, row in values.items()]
        return make_frame({**_COLUMNS, **dict.fromkeys(scores, NUMBER)}, [*ranked, *rest])

    def __repr__(self) -> str:
        return describe_ratings(self.to_dict())

    def _repr_html_(self) -> str:
        """The ranking and all scores as a table, for notebooks."""
        return render_ratings(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/transfer/2`, ready for `json.dumps`, with null for missing values.

        >>> rated.to_dict()["ranking"][0]["source"]  # doctest: +SKIP
        'a'
        """
        return {
            "schema": SCHEMA,
            "data": dict(self.data),
            "models": [asdict(model) for model in self.models],
            "by": self.basis.name,
            "evidence": self.basis.evidence,
            "reliability": self.reliability,
            "ranking": [asdict(one) | {"by": self.basis.name} for one in self.ranked],
            "chance": dict(self.results.chance),
            "constant": dict(self.results.constant),
            "scores": {score: _nan_to_null(values) for score, values in self.values.items()},
            "intervals": {s: [ends and list(ends) for ends in models] for s, models in self.results.intervals.items()},
            "rankings": {score: [name for name, _ in self.ranking(score)] for score in self.values},
            **({} if self.known is None else {"known": _nan_to_null(self.known)}),
            **({} if self.ensemble is None else {"ensemble": asdict(self.ensemble)}),
            "missing": [{"score": s, "model": m, "error": error} for (s, m), error in self.why.items()],
            "failed": [asdict(failure) for failure in self.failed],
            "warnings": [*self.warnings, *self.findings],
        }


def _describe_findings(ratings: Ratings) -> Iterator[str]:
    ranked, classes = ratings.ranked, ratings.data.get("kind") == "classes"
    if ratings.models and not ranked:
        yield f"No model could be ranked by {ratings.basis.words}; --by names another score."
    if ratings.known is not None and not ratings.basis.known:
        yield "None of the models is in the table of results elsewhere, so the ranking does not use it."
    if ratings.results.chance and not ratings.results.is_above_chance:
        nothing = "chance" if classes else "the mean of the labels"
        yield f"No better than {nothing}: no source predicts held-out images better, so this ranking says nothing."
    elif len(ranked) > 1 and {one.bracket for one in ranked} == {1}:
        yield "No source differs from the first by more than its error: these images can't tell which is better."
    weak = [one.source for one in ranked if one.above_constant is False]
    if weak:
        yield f"No better than a constant answer on held-out images: {', '.join(weak)}."


def _nan_to_null(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
