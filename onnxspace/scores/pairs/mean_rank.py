"""The mean rank of the sources of a target by several scores: a combination that needs no common scale.

Averaging ranks is Borda's count (Borda, 1781; Dwork et al., "Rank aggregation methods for the web", WWW 2001).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.scores.arrays import Array
from onnxspace.similarity.mean_rank import combine_ranks


def mean_rank(outputs: ArrayLike, features: Sequence[ArrayLike]) -> Array:
    """Return the mean rank of several sources by `knn_agreement` and `probability_predictivity`, turned: float64 [sources].

    `outputs` [images, …] are the target network's, and `features` those of each source at its encoder, [images, …], of the same
    images. Values are 1 for the source that is first by both, and 0 for the one that is last by both: 1 − (r − 1)/(n − 1) for a
    mean rank r among n sources, ties having the mean of their ranks. A value is relative to the sources that are compared.
    Raises ConfigError as the two scores.

    >>> close, far = [[float(i // 20)] for i in range(40)], [[float(i % 7)] for i in range(40)]
    >>> mean_rank([[8.0, 0, 0]] * 20 + [[0, 8.0, 0]] * 20, [far, close]).tolist()
    [0.0, 1.0]
    """
    from onnxspace.scores.pairs.knn_agreement import knn_agreement
    from onnxspace.scores.pairs.probability_predictivity import probability_predictivity

    scores = (knn_agreement, probability_predictivity)
    found: Array = combine_ranks(np.array([[[score(outputs, source) for source in features]] for score in scores]))[0]
    return found
