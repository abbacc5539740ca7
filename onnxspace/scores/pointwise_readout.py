"""A cheaper readout of pictures, by which the sources of a target are chosen that are worth the full one.

The full readout of `predictivity` is a convolution of 3 × 3: ridge regressions of 576 columns. This one reads each position by itself,
64 columns. `benchmarks/candidates.py` prints what both take.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.scores.arrays import Array, Index
from onnxspace.scores.folds import FOLDS, assign_folds
from onnxspace.scores.pairs.knn_agreement import Answers, FeatureNeighbours
from onnxspace.scores.pairs.predictivity import TargetOutputs
from onnxspace.scores.pairs.readout import explained_shares
from onnxspace.scores.reduce import ReducedArrays, ReducedFeatures, ReducedOutputs, ReducedSource, widen_levels
from onnxspace.similarity.fingerprints.reduced import Reduced


def predict_pictures(target: Reduced, sources: Iterable[Reduced | None]) -> Array:
    """Return R² of the target's pictures by a readout of each position, and `knn_agreement`, of each source: float64 [2, sources].

    Both are NaN for a source without features with positions or with another order of images. Raises ConfigError for a target
    whose outputs do not vary.
    """
    outputs: ReducedOutputs = ReducedArrays(target).load("outputs")
    wanted, answers, folds = outputs.as_target(), outputs.as_answers(), assign_folds(target.order, FOLDS)
    fitting = (one if one is not None and np.array_equal(one.order, target.order) else None for one in sources)
    return np.array([_predict(wanted, answers, one, folds) for one in fitting]).reshape(-1, 2).T


def _predict(wanted: TargetOutputs, answers: Answers, source: Reduced | None, folds: Index) -> tuple[float, float]:
    features: ReducedFeatures | None = None if source is None else ReducedArrays(source).load("features")
    if features is None:
        return np.nan, np.nan
    try:
        agreement = FeatureNeighbours(features.average(), folds).sums_of_squares([answers])[0].share
        return _explain(features, wanted, folds), agreement
    except (OnnxspaceError, np.linalg.LinAlgError):  # features that overflow
        return np.nan, np.nan


def _explain(features: ReducedFeatures, wanted: TargetOutputs, folds: Index) -> float:
    if features.reduced.levels is None:
        return ReducedSource(features, folds).explained_shares([wanted])[0]
    return explained_shares(_list_positions(widen_levels(features.reduced, features.images)), [wanted.rows], len(folds), folds)[
        0
    ]


def _list_positions(pictures: NDArray[np.float32]) -> Array:
    """Features [images, channels, height, width] as centred rows of positions: float64 [images · positions, channels]."""
    rows = np.moveaxis(pictures, 1, -1).reshape(-1, pictures.shape[1]).astype(np.float64)
    return np.asarray(rows - rows.mean(axis=0))
