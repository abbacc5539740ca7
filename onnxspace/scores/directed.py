"""Matrices of directed scores: every target's outputs against every source's features, each prepared once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.scores.all_pairs import ScoreMatrix
from onnxspace.scores.folds import Index
from onnxspace.scores.pairs.knn_agreement import Answers, FeatureNeighbours
from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs
from onnxspace.scores.pairs.probability_predictivity import prepare_probabilities
from onnxspace.scores.pairs.readout import SumsOfSquares
from onnxspace.scores.reduce import ReducedFeatures, ReducedOutputs, ReducedSource
from onnxspace.scores.threads import map_in_threads
from onnxspace.similarity.per_image import PerImageShares

#: Outputs or features of a model, [images, …], None where it has none.
Values = NDArray[Any] | None
#: Each model's outputs and features.
Sides = Sequence[Sequence[Values]]


@dataclass(frozen=True)
class Comparison:
    """The `names` of the compared models, and the fold of each image, intp [images] (None: as `draw_folds`).

    Per-image values are kept for the targets in `resampled` (positions). Sources in `coarse` (positions) have features that are
    too coarse to predict pictures, so that they have no value for targets whose outputs are pictures.
    """

    names: Sequence[str]
    folds: Index | None = None
    resampled: Collection[int] = field(default_factory=tuple)
    coarse: Collection[int] = ()


def predictivities(sides: Sides, among: Comparison) -> ScoreMatrix:
    """Compute `predictivity` of each target's outputs from each source's features; `sides` has both of each model."""
    return _compare(sides, among, TargetOutputs.of, _prepare_features, lambda _: 0.0)


def probability_predictivities(sides: Sides, among: Comparison) -> ScoreMatrix:
    """Compute `probability_predictivity` of each target's outputs from each source's features."""
    return _compare(sides, among, _prepare_probabilities, _prepare_features, lambda _: 0.0)


def knn_agreements(sides: Sides, among: Comparison) -> ScoreMatrix:
    """Compute `knn_agreement` of each target's answers with each source's features."""
    return _compare(sides, among, _prepare_answers, _prepare_neighbours, lambda one: one.chance)


def _prepare_probabilities(outputs: Any) -> TargetOutputs:
    return outputs.as_target() if isinstance(outputs, ReducedOutputs) else prepare_probabilities(outputs)


def _prepare_answers(outputs: Any) -> Answers:
    return outputs.as_answers() if isinstance(outputs, ReducedOutputs) else Answers.of(outputs)


def _prepare_features(features: Any, folds: Index | None) -> SourceFeatures:
    return (ReducedSource if isinstance(features, ReducedFeatures) else SourceFeatures)(features, folds)


def _prepare_neighbours(features: Any, folds: Index | None) -> FeatureNeighbours:
    return FeatureNeighbours(features.average() if isinstance(features, ReducedFeatures) else features, folds)


def _compare(
    sides: Sides, among: Comparison, prepare_target: Callable[[Any], Any], prepare_source: Callable[[Any, Any], Any],
    find_chance: Callable[[Any], float],
) -> ScoreMatrix:  # fmt: skip
    """Fill a matrix by `prepare_source(features, folds).sums_of_squares(targets)`, which returns the per-image terms."""
    names, count = among.names, len(sides)
    matrix, why = np.full((count, count), np.nan), []
    targets: dict[int, Any] = {}
    shares: dict[int, PerImageShares] = {}
    for i, (outputs, _) in enumerate(sides):
        try:
            targets |= {} if outputs is None else {i: prepare_target(outputs)}
        except OnnxspaceError as error:
            why.append(f"{names[i]}: {error}")

    def predict(features: Values) -> list[SumsOfSquares] | str:
        try:
            return [] if features is None else prepare_source(features, among.folds).sums_of_squares(list(targets.values()))
        except OnnxspaceError as error:
            return str(error)

    for j, found in enumerate(map_in_threads(predict, [features for _, features in sides])):
        if isinstance(found, str):
            why.append(f"{names[j]}: {found}")
            continue
        for i, parts in zip(targets, found, strict=False):
            if j in among.coarse and getattr(targets[i], "dense", False):
                continue
            matrix[i, j] = parts.share
            if i in among.resampled:
                one = shares.setdefault(i, PerImageShares(*np.zeros((2, len(parts.missed), count))))
                one.missed[:, j], one.there[:, j] = parts
    chance = {i: find_chance(one) for i, one in targets.items()}
    return ScoreMatrix(matrix, tuple(why), None, shares, chance)
