"""LFC: the correlation of the features' Gram matrix with that of the labels.

Deshpande et al., "A linearized framework and a new benchmark for model selection for fine-tuning" (2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.scores.prepared import Prepared, class_means, prepare


def lfc(features: ArrayLike | Prepared, labels: ArrayLike | None = None) -> float:
    """Return the correlation, over all pairs of images, of ⟨f_i, f_j⟩ with 1 for equal classes and −1 for different ones.

    −1 to 1, larger is better. `features` [images, dimensions], not centred; `labels` [images] of classes. No matrix of pairs
    is computed. Raises ConfigError as `prepare`.

    >>> round(lfc([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    0.825
    """
    ready = prepare(features, labels, "classes")
    sums = class_means(ready.x, ready.index) * ready.labels.counts[:, None]
    all_pairs = ready.images**2
    total = float(np.square(sums.sum(axis=0)).sum())
    same = float(np.square(ready.labels.counts).sum())
    squares = float(np.square(ready.raw_spectrum.values).sum()) - total**2 / all_pairs
    signs = all_pairs - (2 * same - all_pairs) ** 2 / all_pairs
    together = 2 * float(np.square(sums).sum()) - total - total * (2 * same - all_pairs) / all_pairs
    return float(np.clip(together / np.sqrt(squares * signs), -1.0, 1.0))
