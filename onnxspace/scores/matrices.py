"""Matrices of scores over all pairs of models: the functions that `ScoreSpec.matrix` names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.scores.all_pairs import (
    MOST_PAIRED,
    MOST_PREDICTED,
    Arrays,
    Matrix,
    ScoreMatrix,
    balancing_weight,
    edges_matrix,
    sample_images,
    score_pairs,
    svcca_matrix,
    unify_grids,
)
from onnxspace.scores.directed import Comparison, knn_agreements, predictivities, probability_predictivities
from onnxspace.scores.folds import FOLDS, Index, assign_folds
from onnxspace.scores.pairs.dds import centred_similarities, correlate_similarities
from onnxspace.scores.reduce import ReducedArrays
from onnxspace.scores.registry import Kind, ScoreSpec, find_spec
from onnxspace.scores.selection import DEFAULT_WEIGHT, DEPARA, Weight
from onnxspace.scores.threads import blas_threads
from onnxspace.similarity.affinity import to_json_matrix
from onnxspace.similarity.mean_rank import combine_ranks
from onnxspace.similarity.per_image import PerImageRanks, PerImageShares

Values = NDArray[Any] | None


def _ignore(_warning: str) -> None:
    """Drop a warning."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The models of a comparison: their `names` and arrays, and `affinity`, float64 [models, models], of their maps.

    `weight` is DEPARA's λ. Per-image values are kept for the targets in `resampled` (positions of models), in the order of
    `order`; `warn` is called with warnings. `order`, intp [images], ranks the images of features and outputs by their content
    (None: unknown), so that results depend neither on file names nor on the order of files. Directed scores are computed for
    `targets` (positions; None: all models).
    """

    names: Sequence[str]
    models: Sequence[Arrays | ReducedArrays]
    affinity: Matrix = field(default_factory=lambda: np.zeros((0, 0)))
    weight: Weight = DEFAULT_WEIGHT
    resampled: Collection[int] = ()
    warn: Callable[[str], None] = _ignore
    order: Index | None = None
    targets: Collection[int] | None = None
    _computed: dict[str, ScoreMatrix] = field(default_factory=dict)

    def list_targets(self) -> list[int]:
        """Return the positions of the targets."""
        return sorted(range(len(self.names)) if self.targets is None else self.targets)

    def select_images(self, most: int | None) -> Index | None:
        """Return the positions of at most `most` images (None: all) in the order of their content; None where it is unknown."""
        return None if self.order is None else np.argsort(self.order, kind="stable")[:most]


def compute_score_matrix(spec: ScoreSpec, compared: Compared, name: str = "") -> ScoreMatrix:
    """Compute a score of all pairs, with targets as rows and sources as columns; a pair that fails does not stop the others.

    A score with a `name` is computed once for the same models.
    """
    if name and name in compared._computed:
        return compared._computed[name]
    module, function = spec.matrix.split(":")
    compute: Callable[[ScoreSpec, Compared], ScoreMatrix] = getattr(import_module(module), function)
    with blas_threads(0 if spec.directed or compared.order is None else len(compared.order)):
        found = compute(spec, compared)
    if name:
        compared._computed[name] = found
    return found


def score_every_pair(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Call the score's function for every pair."""
    sides = [[_load(model, kind, spec, compared) for kind in spec.arrays] for model in compared.models]
    return score_pairs(spec.load(), sides, compared.names, symmetric=spec.symmetric, directed=spec.directed)


def score_maps(_spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Return the affinities of maps and fingerprints, which are already computed."""
    return ScoreMatrix(compared.affinity, ())


def score_svcca(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute SVCCA, with each model's singular vectors computed once."""
    sides = [[_load(model, kind, spec, compared) for kind in spec.arrays] for model in compared.models]
    return svcca_matrix(spec.load(), [side[0] for side in unify_grids(sides)], compared.names)


def score_predictivity(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute predictivity, with each target and each source prepared once."""
    return predictivities(*_prepare_directed(spec, compared))


def score_probability_predictivity(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute predictivity of probabilities, with each target and each source prepared once."""
    return probability_predictivities(*_prepare_directed(spec, compared))


def score_knn_agreement(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute the agreement of neighbours, with each target and each source prepared once."""
    return knn_agreements(*_prepare_directed(spec, compared))


def _prepare_directed(spec: ScoreSpec, compared: Compared) -> tuple[list[tuple[Values, Values]], Comparison]:
    """Outputs and features of each model, of the same images in the order of their content, and the folds of these."""
    rows = compared.select_images(MOST_PREDICTED)
    targets = set(compared.list_targets())
    sides = [
        (_take(load(model, "outputs", spec), rows) if i in targets else None, _take(load(model, "features", spec), rows))
        for i, model in enumerate(compared.models)
    ]
    folds = None if compared.order is None or rows is None else assign_folds(compared.order[rows], FOLDS)
    coarse = {j for j, model in enumerate(compared.models) if isinstance(model, ReducedArrays) and model.coarse}
    return sides, Comparison(compared.names, folds, compared.resampled, coarse)


def _take(values: Values, rows: Index | None) -> Values:
    if values is None:
        return None
    return sample_images(values, MOST_PREDICTED) if rows is None else values[rows]


def score_mean_rank(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Combine the ranks of the score's members among the sources of each target; the diagonal, a target itself, is 1."""
    parts = [compute_score_matrix(find_spec(name), compared, name) for name in spec.members]
    values = np.stack([one.matrix for one in parts])
    values[:, np.arange(len(compared.names)), np.arange(len(compared.names))] = np.nan
    matrix, shares = combine_ranks(values), {}
    for i in compared.resampled:
        there = [one for one, row in zip(parts, values[:, i], strict=True) if not np.isnan(row).all()]
        members = [one.shares[i] for one in there if one.shares is not None and i in one.shares]
        ranked = np.flatnonzero(~np.isnan(matrix[i]))
        if members and len(members) == len(there) and len(ranked):
            shares[i] = PerImageRanks(tuple(one for one in members if isinstance(one, PerImageShares)), ranked)
    own = np.diag_indices(len(matrix))
    matrix[own] = np.where(np.isnan(matrix).all(axis=1), np.nan, 1.0)
    details = {"members": list(spec.members)}
    return ScoreMatrix(matrix, (), details, shares)


def score_dds(spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute duality-diagram similarity; of few images each model's matrix of similarities is computed once."""
    sides = [[_load(model, kind, spec, compared) for kind in spec.arrays] for model in compared.models]
    if max((len(side[0]) for side in sides if side[0] is not None), default=0) > MOST_PAIRED:
        return score_pairs(spec.load(), sides, compared.names)
    kept: list[list[NDArray[Any] | None]] = []
    why = []
    for (values,), model, name in zip(sides, compared.models, compared.names, strict=True):
        try:
            kept.append([None if values is None else _find_similarities(model, values)])
        except OnnxspaceError as error:
            kept.append([None])
            why.append(f"{name}: {error}")
    found = score_pairs(correlate_similarities, kept, compared.names)
    return found._replace(why=(*why, *found.why))


def _find_similarities(model: Arrays | ReducedArrays, features: NDArray[Any]) -> NDArray[np.float64] | None:
    return model.load_similarities() if isinstance(model, ReducedArrays) else centred_similarities(features)


def score_depara(_spec: ScoreSpec, compared: Compared) -> ScoreMatrix:
    """Compute S = S_V + λ S_E, with the affinity of maps as S_V (Song et al., CVPR 2020, section 3.3)."""
    edges = edges_matrix([Arrays() if isinstance(one, ReducedArrays) else one for one in compared.models], compared.names)
    weight = _weight(compared, edges.matrix)
    details = {"lambda": weight, "nodes": to_json_matrix(compared.affinity), "edges": to_json_matrix(edges.matrix)}
    return ScoreMatrix(compared.affinity + weight * edges.matrix, edges.why, details)


def load(model: Arrays | ReducedArrays, kind: Kind, spec: ScoreSpec) -> Any:
    """Load an array [images, …] of a model; None where it has none, or has only a reduced one that the score can't take."""
    return None if isinstance(model, ReducedArrays) and not spec.reduced else model.load(kind)


def _load(model: Arrays | ReducedArrays, kind: Kind, spec: ScoreSpec, compared: Compared) -> NDArray[Any] | None:
    values: NDArray[Any] | None = load(model, kind, spec)
    if values is None or spec.max_images is None or len(values) <= spec.max_images:
        return values
    rows = compared.select_images(spec.max_images)
    return sample_images(values, spec.max_images) if rows is None or len(rows) > len(values) else values[np.sort(rows)]


def _weight(compared: Compared, edges: Matrix) -> float:
    if compared.weight != "auto":
        return compared.weight
    found = balancing_weight(compared.affinity, edges)
    if found is None:
        compared.warn(f"{DEPARA}: λ can't be estimated from so few models, or equal ones, so it is {DEFAULT_WEIGHT}.")
    return DEFAULT_WEIGHT if found is None else found
