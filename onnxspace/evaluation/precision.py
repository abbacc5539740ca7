"""P@K and R@K: how many of a target's best sources are among the first K that a ranking names.

`P@K = hits / (targets · K)` and `R@K = hits / (targets · relevant)`, where relevant are the best 5 sources of a target in the
oracle (Song et al., NeurIPS 2019, section 4). Equal values are no order: every number here is the expectation over all ways
to break ties, of the oracle's and of the prediction's, independently. So a perfect prediction has the oracle's curve exactly,
and one that says the same of every source has the random curve. Without ties, hits are whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RELEVANT = 5


def relevance(truth: Numbers, relevant: int = RELEVANT) -> Numbers:
    """The chance of each candidate to be among the best `relevant`, float64 [candidates] in [0, 1]; `truth` larger is better.

    Candidates that share the last place share what is left of it, so the sum is `relevant`, or their number if that is less.
    """
    _, group, counts = np.unique(-truth, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    shares: Numbers = np.clip((relevant - before) / counts, 0.0, 1.0)[group]
    return shares


def hits(relevant: Numbers, predicted: Numbers) -> Numbers:
    """Relevant candidates among the first K by `predicted`, for K = 1 … candidates: float64 [candidates].

    `relevant` is what `relevance` gives; `predicted` float64 [candidates], larger is better, of which only the order counts.
    """
    _, group, counts = np.unique(-predicted, return_inverse=True, return_counts=True)
    means = np.bincount(group, relevant) / counts
    found: Numbers = np.cumsum(np.repeat(means, counts))
    return found


def random_hits(relevant: Numbers) -> Numbers:
    """What a random order hits in the mean, for K = 1 … candidates."""
    return np.linspace(0.0, relevant.sum(), len(relevant) + 1)[1:]


def best_hits(relevant: Numbers) -> Numbers:
    """What the oracle's own order hits, for K = 1 … candidates: min(K, relevant) where there are no ties."""
    return np.cumsum(np.sort(relevant)[::-1])


def extended(found: Numbers, length: int) -> Numbers:
    """Hits up to K = `length`: a target with fewer candidates hits no more beyond them."""
    return np.concatenate([found, np.full(length - len(found), found[-1])])


def precision(found: Numbers, targets: int = 1) -> Numbers:
    """P@K from hits [..., K] that are summed over `targets`."""
    shares: Numbers = found / (targets * np.arange(1, found.shape[-1] + 1))
    return shares


def recall(found: Numbers, relevant: float, targets: int = 1) -> Numbers:
    """R@K from hits [..., K] that are summed over `targets`, each with so many relevant candidates."""
    shares: Numbers = found / (targets * relevant)
    return shares
