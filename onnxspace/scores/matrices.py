"""Matrices of scores over all pairs of models: the functions that `ScoreSpec.matrix` names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.scores.all_pairs import (
    Arrays,
    Matrix,
    ScoreMatrix,
    balancing_weight,
    edges_matrix,
    predictivities,
    sample_images,
    score_pairs,
    svcca_matrix,
    unify_grids,
)
from onnxspace.scores.registry import Kind, ScoreSpec
from onnxspace.scores.selection import DEFAULT_WEIGHT, DEPARA, Weight
from onnxspace.similarity.affinity import to_json_matrix


def _ignore(_warning: str) -> None:
    """Drop a warning."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The models of a comparison: their `names` and arrays, and `affinity`, float64 [models, models], of their maps.

    `weight` is DEPARA's λ. Per-image values are kept for the targets in `resampled` (positions of models); `warn` is called
    with warnings.
    """

    names: Sequence[str]
    models: Sequence[Arrays]
    affinity: Matrix = field(default_factory=lambda: np.zeros((0, 0)))
    weight: Weight = DEFAULT_WEIGHT
    resampled: Collection[int] = ()
    warn: Callable[[str], None] = _ignore


def compute_score_matrix(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute a score of all pairs, with targets as rows and sources as columns; a pair that fails does not stop the others."""
    module, name = spec.matrix.split(":")
    found: ScoreMatrix = getattr(import_module(module), name)(spec, compared)
    return found


def score_every_pair(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Call the score's function for every pair."""
    sides = [[_load(model, kind, spec) for kind in spec.arrays] for model in compared.models]
    return score_pairs(spec.load(), sides, compared.names, symmetric=spec.symmetric, directed=spec.directed)


def score_maps(_spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Return the affinities of maps and fingerprints, which are already computed."""
    return ScoreMatrix(compared.affinity, ())


def score_svcca(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute SVCCA, with each model's singular vectors computed once."""
    sides = [[_load(model, kind, spec) for kind in spec.arrays] for model in compared.models]
    return svcca_matrix(spec.load(), [side[0] for side in unify_grids(sides)], compared.names)


def score_predictivity(_spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute predictivity, with each target and each source prepared once."""
    sides = [(model.load("outputs"), model.load("features")) for model in compared.models]
    return predictivities(sides, compared.names, compared.resampled)


def score_depara(_spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute S = S_V + λ S_E, with the affinity of maps as S_V (Song et al., CVPR 2020, section 3.3)."""
    edges = edges_matrix(compared.models, compared.names)
    weight = _weight(compared, edges.matrix)
    details = {"lambda": weight, "nodes": to_json_matrix(compared.affinity), "edges": to_json_matrix(edges.matrix)}
    return ScoreMatrix(compared.affinity + weight * edges.matrix, edges.why, details)


def _load(model: Arrays, kind: Kind, spec: ScoreSpec) -> NDArray[Any] | None:
    values = model.load(kind)
    return values if values is None or spec.max_images is None else sample_images(values, spec.max_images)


def _weight(compared: Compared, edges: Matrix) -> float:
    if compared.weight != "auto":
        return compared.weight
    found = balancing_weight(compared.affinity, edges)
    if found is None:
        compared.warn(f"{DEPARA}: λ can't be estimated from so few models, or equal ones, so it is {DEFAULT_WEIGHT}.")
    return DEFAULT_WEIGHT if found is None else found
