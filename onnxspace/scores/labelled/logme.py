"""LogME: the log evidence of the labels under a Bayesian linear model of the features, per image.

You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning" (ICML 2021). The determinant includes the
directions beyond the rank of the features, ½ (D − k) ln α, which widely copied code omits.

The published procedure iterates towards a maximum of the evidence over α and β, for a few rounds, from a start that depends on
the unit of the features. The largest evidence itself does not: here it is searched for over t = α/β, with the β that is best
for each. With q(t) = Σ_k x_k² t/(σ_k + t) + ‖y‖² − ‖x‖² that is β = N/q, and the evidence per image is
−½ (ln(2π q/N) + 1 + Σ_k ln(1 + σ_k/t) / N).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.scores.arrays import Array, reciprocal_or_zero
from onnxspace.scores.labels import Kind
from onnxspace.scores.prepared import Prepared, prepare

#: The range of α/β, in largest eigenvalues. At its upper end the features say nothing; its lower end bounds the
#: evidence of labels that features predict exactly.
_RANGE, _STEPS = (1e-10, 1e9), 64
#: Golden sections of two steps of that range: ln(α/β) is then within 1e-5 of the maximum, the evidence within 1e-10.
_SECTIONS = 24


def logme(features: ArrayLike | Prepared, labels: ArrayLike | None = None, kind: Kind = "auto") -> float:
    """Return the mean over label columns of the log evidence per image: any real number, larger is better, of any unit.

    `features` [images, dimensions]; `labels` [images] of classes (one column each), [images, labels] of 0 and 1, or real
    targets [images] or [images, targets]; `kind` ("classes", "multilabel", "regression") overrides the automatic choice.
    Columns that do not vary are left out. Raises ConfigError as `prepare`.

    >>> round(logme([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "cat", "dog", "dog"]), 3)
    -0.817
    """
    return float(log_evidence(prepare(features, labels, kind)).mean())


def log_evidence(ready: Prepared) -> Array:
    """Return the largest log evidence per image of each label column: float64 [columns]."""
    projected = _project_columns(ready)
    return _profile(projected, _find_ratios(projected))


class _Projected(NamedTuple):
    """Eigenvalues σ [k] in units of the largest, and squared label columns: along left singular vectors, and beyond these."""

    sigma: Array
    along: Array  # [k, columns]
    rest: Array  # [columns]
    images: int


def _project_columns(ready: Prepared) -> _Projected:
    columns, spectrum = ready.labels.columns, ready.raw_spectrum
    along = np.square(spectrum.vectors.T @ (ready.x.T @ columns)) * reciprocal_or_zero(spectrum.values)[:, None]
    rest = np.square(columns).sum(axis=0) - along.sum(axis=0)
    rank = np.count_nonzero(spectrum.values)
    if rank == ready.images:
        rest[:] = 0.0
    return _Projected(spectrum.values[:rank] / spectrum.values[0], along[:rank], np.maximum(rest, 0.0), ready.images)


def _profile(projected: _Projected, logs: Array) -> Array:
    """The evidence per image with the best β where ln(α/β) is `logs`, [columns] or the same for all [1]: float64 [columns]."""
    sigma, along, rest, images = projected
    spread = sigma[:, None] * np.exp(-logs)  # σ/t
    misfit = (along / (1 + spread)).sum(axis=0) + rest
    evidence: Array = -0.5 * (np.log(2 * np.pi * misfit / images) + 1 + np.log1p(spread).sum(axis=0) / images)
    return evidence


def _find_ratios(projected: _Projected) -> Array:
    """Return ln(α/β) at the largest evidence, α being in units of the largest eigenvalue: float64 [columns]."""
    grid = np.linspace(np.log(_RANGE[0]), np.log(_RANGE[1]), _STEPS)
    found = np.array([_profile(projected, log[None]) for log in grid])
    best = found.argmax(axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _STEPS - 1)]
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(_SECTIONS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        rising = _profile(projected, left) < _profile(projected, right)
        low, high = np.where(rising, left, low), np.where(rising, high, right)
    middle: Array = (low + high) / 2
    return middle
