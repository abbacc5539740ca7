"""The result of rating models on labelled images: a value per score and model."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.similarity.records import Failure, ModelRecord

SCHEMA = "onnxspace/transfer/1"


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
    """

    models: tuple[ModelRecord, ...]
    values: Mapping[str, tuple[float, ...]]
    data: Mapping[str, Any]
    why: Mapping[tuple[str, str], str] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    ensemble: EnsembleChoice | None = None
    known: tuple[float, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(self.values)

    def ranking(self, score: str) -> tuple[tuple[str, float], ...]:
        """Return models and their values of `score`, best first, ties in the order of `models`, omitting missing values.

        Raises ConfigError for a score that was not computed.
        """
        if score not in self.values:
            raise ConfigError(f"No score {score!r} was computed; there are {', '.join(self.values) or 'none'}.")
        pairs = [pair for pair in zip(self.names, self.values[score], strict=True) if not math.isnan(pair[1])]
        return tuple(sorted(pairs, key=lambda pair: -pair[1]))

    def places(self, score: str) -> dict[str, int]:
        """Return each model's rank by `score`, from 1. Raises ConfigError for a score that was not computed."""
        return {name: place for place, (name, _) in enumerate(self.ranking(score), 1)}

    def to_csv(self) -> str:
        """Format as CSV with a row per model and a column per score, empty for missing values; numbers round-trip exactly."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["model", *self.values, *(["known"] if self.known else [])])
        columns = [*self.values.values(), *([self.known] if self.known else [])]
        for name, row in zip(self.names, zip(*columns, strict=True), strict=True):
            writer.writerow([name, *("" if math.isnan(value) else repr(value) for value in row)])
        return out.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/transfer/1`, ready for `json.dumps`, with null for missing values."""
        return {
            "schema": SCHEMA,
            "data": dict(self.data),
            "models": [asdict(model) for model in self.models],
            "scores": {score: _nan_to_null(values) for score, values in self.values.items()},
            "rankings": {score: [name for name, _ in self.ranking(score)] for score in self.values},
            **({} if self.known is None else {"known": _nan_to_null(self.known)}),
            **({} if self.ensemble is None else {"ensemble": asdict(self.ensemble)}),
            "missing": [{"score": s, "model": m, "error": error} for (s, m), error in self.why.items()],
            "failed": [asdict(failure) for failure in self.failed],
            "warnings": list(self.warnings),
        }


def _nan_to_null(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
