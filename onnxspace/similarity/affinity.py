"""The result of a comparison: the models, their similarity matrix, and rankings, trees and tables derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.inputs.methods import describe_options
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.ranking import Linkage, Ranking, rank, tree
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import Evidence
from onnxspace.storage.csv_text import format_csv

SCHEMA = "onnxspace/score/2"
#: Schemas that can be read.
SCHEMAS = ("onnxspace/score/1", SCHEMA)


@dataclass(frozen=True, eq=False)
class Affinity:
    """`matrix[i, j]` is the mean cosine of the maps of models i and j: float64 [models, models], larger is more similar.

    `options` holds the options of `method`, such as `{"baseline": "black"}`. `errors` holds the standard errors of `matrix`,
    0 where an affinity comes from full maps; it is None where all do. `certainty` holds, by name of the target, how certain
    its ranking is, for the targets that were requested.

    Where scores were requested by name, `by` is the first of them, which `matrix` holds, and `scores` has the matrix of each,
    NaN for pairs without that score. `unscored` gives the reasons by score, except for fingerprints, which only have
    attribution. `details` holds the parameters of the scores, and DEPARA's two parts. Sources are ranked by `ranked_by`, or
    by `by` where it is None, and for the targets in `ranked_targets`, which lack what that takes, by another score.

    `evidence` says what rankings know of the task. `pictures` describes the images of features and outputs, as `probe` does
    those of maps (None: the same). `brackets` and `notes` hold, by target, the groups of sources that can't be told apart,
    best first, and sentences about its ranking.
    """

    models: tuple[ModelRecord, ...]
    matrix: NDArray[np.float64]
    method: str
    probe: Mapping[str, Any]
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    options: Mapping[str, Any] = field(default_factory=dict)
    errors: NDArray[np.float64] | None = None
    certainty: Mapping[str, Certainty] = field(default_factory=dict)
    by: str = "attribution"
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    unscored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ranked_by: str | None = None
    ranked_targets: Mapping[str, str] = field(default_factory=dict)
    evidence: Evidence = "none"
    pictures: Mapping[str, Any] | None = None
    brackets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    @property
    def method_words(self) -> str:
        """The method and its options, for titles: `integrated-gradients (baseline black, steps 50)`."""
        return f"{self.method} ({describe_options(self.options)})" if self.options else self.method

    @property
    def title(self) -> str:
        """What `matrix` holds, in words."""
        probe = self.probe if self.by == "attribution" or self.pictures is None else self.pictures
        images = f"on {probe['images']} images ({probe['name']})"
        return f"{self.method_words} {images}" if self.by == "attribution" else f"{self.by} {images}"

    def rank(self, target: str, by: str | None = None) -> Ranking:
        """Rank the sources for `target` (a name or a path), best first, leaving out those without a score.

        They are ranked by the score `by`; where it is None, by that of the target. Raises ConfigError for an unknown model or
        score.
        """
        by_path = {model.path: model.name for model in self.models}
        name = target if target in self.names else by_path.get(target)
        if name is None:
            raise ConfigError(f"--target: {describe_unknown('model', target, self.names)}")
        own = self.ranked_targets.get(name, self.ranks_by)
        ranked = rank(self.names, self._matrix(by or own), name)
        ranked = replace(ranked, by=by or own, evidence=self.evidence)
        if (by or own) != own:
            return ranked
        brackets = self.brackets.get(name, ())
        fit = brackets if len(brackets) == len(ranked.sources) else ranked.brackets
        return replace(ranked, brackets=fit, notes=self.notes.get(name, ()))

    @property
    def ranks_by(self) -> str:
        """The score by which the sources of most targets are ranked."""
        return self.ranked_by or self.by

    def _matrix(self, by: str | None) -> NDArray[np.float64]:
        if by is None or by == self.by:
            return self.matrix
        if by not in self.scores:
            raise ConfigError(f"No score {by!r} was computed; there are {', '.join(self.scores) or self.by}.")
        return self.scores[by]

    def tree(self, linkage: Linkage = "average") -> NDArray[np.float64]:
        """Compute the similarity tree as a SciPy linkage matrix, float64 [models − 1, 4], by `average` or `single` linkage.

        A matrix with values above 1 is first divided by its maximum.
        """
        return tree(self.matrix / max(1.0, float(self.matrix.max(initial=0.0))), linkage)

    def to_csv(self, by: str | None = None) -> str:
        """Format the matrix of the score `by` (None: the first) as CSV, named along both sides; numbers round-trip exactly.

        Raises ConfigError for a score that was not computed.
        """
        values = self._matrix(by).tolist()
        return format_csv([["", *self.names], *([n, *map(repr, row)] for n, row in zip(self.names, values, strict=True))])

    def rankings_csv(self) -> str:
        """Columns target, rank, source, value, by (the score), evidence, bracket."""
        ranked = [self.rank(name) for name in self.names]
        rows = [
            [one.target, str(place), source, repr(value), one.by, one.evidence, str(bracket)]
            for one in ranked
            for (source, value), place, bracket in zip(one.sources, one.places, one.brackets, strict=True)
        ]
        return format_csv([["target", "rank", "source", "value", "by", "evidence", "bracket"], *rows])

    def to_dataframe(self) -> Any:
        """Return the matrix as a pandas DataFrame, named along both sides. Raises ConfigError where pandas is not installed."""
        try:
            import pandas  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ConfigError("Data frames need pandas, which is not installed. Install it, or use `to_csv`.") from error
        return pandas.DataFrame(self.matrix, index=list(self.names), columns=list(self.names))

    def _repr_html_(self) -> str:
        """The matrix as a coloured table, for notebooks."""
        from onnxspace.similarity.html import render_heat_table

        return render_heat_table(self.title, self.names, self.matrix, self.errors)

    def to_dict(self, targets: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the object of schema `onnxspace/score/2`, ready for `json.dumps`, with rankings of `targets` (None: all).

        It has `affinity`, the mean cosines of maps, where maps were compared, and `scores`, a matrix by name with null for
        missing values, where others were. `by` is the score of the matrix that is shown first. `options`, `errors` of affinities
        from fingerprints, `pictures` and `certainty` are there where there are any.
        """
        ranked = [self.rank(name) for name in (self.names if targets is None else targets)]
        affinity = self.matrix if self.by == "attribution" else self.scores.get("attribution")
        return {
            "schema": SCHEMA,
            "method": self.method,
            **({"options": dict(self.options)} if self.options else {}),
            "probe": dict(self.probe),
            **({} if self.pictures is None else {"pictures": dict(self.pictures)}),
            "evidence": self.evidence,
            "models": [asdict(model) for model in self.models],
            "by": self.by,
            "ranked_by": self.ranks_by,
            **({} if affinity is None else {"affinity": to_json_matrix(affinity)}),
            **({} if self.errors is None else {"errors": self.errors.tolist()}),
            "rankings": {one.target: one.to_dict() for one in ranked},
            **({"certainty": self._certainty(ranked)} if self.certainty else {}),
            **self._scores(),
            "failed": [asdict(failure) for failure in self.failed],
            "warnings": list(self.warnings),
        }

    def _scores(self) -> dict[str, Any]:
        if not self.scores:
            return {}
        matrices = {name: to_json_matrix(matrix) for name, matrix in self.scores.items()}
        unscored = {name: list(why) for name, why in self.unscored.items()}
        return {"scores": matrices, "details": {name: dict(part) for name, part in self.details.items()}, "unscored": unscored}

    def _certainty(self, ranked: Sequence[Ranking]) -> dict[str, Any]:
        return {r.target: self.certainty[r.target].to_dict() for r in ranked if r.target in self.certainty}


def to_json_matrix(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    """Convert a matrix to lists for JSON, with None for NaN."""
    return [[None if np.isnan(value) else value for value in row] for row in matrix.tolist()]
