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
from onnxspace.inputs.precision import ModelPrecision
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.display import list_rankings
from onnxspace.similarity.html import render_heat_table, render_notes
from onnxspace.similarity.ranking import COLUMNS, Linkage, Ranking, rank, replace_brackets, tree
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import Evidence
from onnxspace.storage.csv_text import format_csv
from onnxspace.storage.data_frames import make_frame, make_matrix_frame
from onnxspace.storage.short_text import MOST_LINES, count, count_losses, describe_images, join_lines

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
    best first, and sentences about its ranking. `precisions` holds, by name of the model, the precision in which its maps were
    computed, where maps were compared.
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
    precisions: Mapping[str, ModelPrecision] = field(default_factory=dict)

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
        images = f"on {describe_images(probe)}"
        return f"{self.method_words} {images}" if self.by == "attribution" else f"{self.by} {images}"

    def rank(self, target: str, by: str | None = None) -> Ranking:
        """Rank the sources for `target` (a name or a path), best first, leaving out those without a score.

        They are ranked by the score `by`; where it is None, by that of the target. Raises ConfigError for an unknown model or
        score.

        >>> found.rank("a").sources  # doctest: +SKIP
        (('b', 0.71),)
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
        ranked = replace_brackets(replace(ranked, notes=self.notes.get(name, ())), self.brackets.get(name, ()))
        return replace_brackets(ranked, self.certainty[name].brackets) if name in self.certainty else ranked

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

        With the `linkage` `average`, groups are joined by their mean affinity, with `single` by the distance of their nearest rows. A
        matrix with values above 1 is first divided by its maximum. Raises ValueError for fewer than two models.

        >>> scipy.cluster.hierarchy.dendrogram(found.tree(), labels=found.names)  # doctest: +SKIP
        """
        return tree(self.matrix / max(1.0, float(self.matrix.max(initial=0.0))), linkage)

    def to_csv(self, by: str | None = None) -> str:
        """Format the matrix of the score `by` (None: the first) as CSV, named along both sides; numbers round-trip exactly.

        Raises ConfigError for a score that was not computed.

        >>> Path("affinity.csv").write_text(found.to_csv())  # doctest: +SKIP
        """
        values = self._matrix(by).tolist()
        return format_csv([["", *self.names], *([n, *map(repr, row)] for n, row in zip(self.names, values, strict=True))])

    def rankings_csv(self) -> str:
        """Format the rankings of all targets as CSV, with the columns target, rank, source, value, by (the score), evidence, bracket.

        >>> found.rankings_csv().splitlines()[0]  # doctest: +SKIP
        'target,rank,source,value,by,evidence,bracket'
        """
        ranked = [self.rank(name) for name in self.names]
        rows = [
            [one.target, str(place), source, repr(value), one.by, one.evidence, str(bracket)]
            for one in ranked
            for (source, value), place, bracket in zip(one.sources, one.places, one.brackets, strict=True)
        ]
        return format_csv([["target", "rank", "source", "value", "by", "evidence", "bracket"], *rows])

    def to_dataframe(self, by: str | None = None) -> Any:
        """Return the matrix of the score `by` (None: the first) as a pandas DataFrame, with targets as rows, sources as columns.

        The score's name is that of the columns (`frame.columns.name`); missing values are NaN. Raises ConfigError for a score that
        was not computed, MissingLibraryError where pandas is not installed.

        >>> found.to_dataframe().loc["a", "b"]  # doctest: +SKIP
        0.71
        """
        return make_matrix_frame(self._matrix(by), self.names, self.names, by or self.by)

    def rankings_dataframe(self) -> Any:
        """Return the rankings of all targets as one pandas DataFrame; columns as in `Ranking.to_dataframe`.

        Raises MissingLibraryError where pandas is not installed.

        >>> found.rankings_dataframe().query("place == 1")  # doctest: +SKIP
        """
        return make_frame(COLUMNS, [row for name in self.names for row in self.rank(name).rows()])

    def __repr__(self) -> str:
        by = self.by if self.ranks_by == self.by else f"{self.by}, ranked by {self.ranks_by}"
        heading = f"Affinity of {count(len(self.models), 'model')}, by {by}: {self.title}"
        best = list_rankings(self.names, [self.rank(name).sources for name in self.names[:MOST_LINES]], self._list_words)
        lost = count_losses([failure.path for failure in self.failed], self.warnings)
        return join_lines(heading, [f"Evidence: {self.evidence}"], best, lost)

    @property
    def _list_words(self) -> str:
        return "most alike" if self.evidence == "none" else "best sources"

    def _repr_html_(self) -> str:
        """The matrix as a coloured table, and below it the evidence, what failed, and warnings, for notebooks."""
        failed = [f"{failure.path}: {failure.error}" for failure in self.failed]
        table = render_heat_table(self.title, self.names, self.matrix, self.errors)
        return table + render_notes(f"Evidence: {self.evidence}", *failed, *self.warnings)

    def to_dict(self, targets: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the object of schema `onnxspace/score/2`, ready for `json.dumps`, with rankings of `targets` (None: all).

        It has `affinity`, the mean cosines of maps, where maps were compared, and `scores`, a matrix by name with null for
        missing values, where others were. `by` is the score of the matrix that is shown first. `options`, `errors` of affinities
        from fingerprints, `pictures`, `precisions` of maps and `certainty` are there where there are any. Raises ConfigError for an unknown target.

        >>> json.dumps(found.to_dict(["a"]))  # doctest: +SKIP
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
            **({"precisions": {name: one.to_dict() for name, one in self.precisions.items()}} if self.precisions else {}),
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
