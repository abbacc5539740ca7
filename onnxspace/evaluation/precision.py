"""P@K and R@K: how many of a target's best sources are among the first K of a ranking.

`P@K = hits / (targets · K)` and `R@K = hits / (targets · relevant)`, where the best 5 sources of a target in the oracle are
relevant (Song et al., NeurIPS 2019, section 4). Equal values define no order: all numbers are expectations over all ways to
break ties, of the oracle and of the prediction independently. A perfect prediction therefore reaches the oracle's curve
exactly, and a constant one the random curve. Without ties, hits are integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RELEVANT = 5


def relevance(truth: Numbers, relevant: int = RELEVANT) -> Numbers:
    """Return each candidate's probability of being among the best `relevant`: float64 [candidates] in [0, 1].

    `truth` is float64 [candidates], larger is better. Candidates that are tied at the last place share the places that are
    left, so the sum is `relevant`, or the number of candidates if that is smaller.

    >>> relevance(np.array([0.9, 0.5, 0.5]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    _, group, counts = np.unique(-truth, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    shares: Numbers = np.clip((relevant - before) / counts, 0.0, 1.0)[group]
    return shares


def hits(relevant: Numbers, predicted: Numbers) -> Numbers:
    """Count relevant candidates among the first K by `predicted`, for K = 1 … candidates: float64 [candidates].

    `relevant` is the result of `relevance`; `predicted` is float64 [candidates], larger is better; only its order matters.
    """
    _, group, counts = np.unique(-predicted, return_inverse=True, return_counts=True)
    means = np.bincount(group, relevant) / counts
    found: Numbers = np.cumsum(np.repeat(means, counts))
    return found


def random_hits(relevant: Numbers) -> Numbers:
    """Return the expected hits of a random order, for K = 1 … candidates: float64 [candidates]; `relevant` as in `hits`."""
    return np.linspace(0.0, relevant.sum(), len(relevant) + 1)[1:]


def best_hits(relevant: Numbers) -> Numbers:
    """Return the hits of the oracle's own order, K = 1 … candidates: min(K, relevant) without ties; `relevant` as in `hits`."""
    return np.cumsum(np.sort(relevant)[::-1])


def extend_hits(found: Numbers, length: int) -> Numbers:
    """Extend hits `found`, float64 [candidates], to K = `length` by repeating the last value."""
    return np.concatenate([found, np.full(length - len(found), found[-1])])


def precision(found: Numbers, targets: int = 1) -> Numbers:
    """Return P@K, float64 [..., K], from hits `found` [..., K] that are summed over `targets` targets."""
    shares: Numbers = found / (targets * np.arange(1, found.shape[-1] + 1))
    return shares


def recall(found: Numbers, relevant: float, targets: int = 1) -> Numbers:
    """Return R@K, float64 [..., K], from hits `found` [..., K] summed over `targets`, each with `relevant` candidates."""
    shares: Numbers = found / (targets * relevant)
    return shares
