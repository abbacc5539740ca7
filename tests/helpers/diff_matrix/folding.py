"""Pairs of networks of which the second has batch normalisations folded into convolutions, rightly or by a mistake."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import Pair, of


def fold_wrongly(cause: str) -> Pair:
    """A convolution into which the mistake put its normalisation."""
    at = "/5/conv1/Conv"
    return of(pairs.base, lambda m: pairs.fold(m, at, MISTAKES[cause]), "differ", "folded-wrongly", cause, at,
               touched={at, "/5/bn1/BatchNormalization"})  # fmt: skip


MISTAKES = {
    **pairs.MISTAKES,
    "epsilon is 0.001": lambda g, b, m, v: (g / np.sqrt(v + 1e-3), b - m * g / np.sqrt(v + 1e-3)),
    "the variance was left out": lambda g, b, m, v: (g, b - m * g),
    "it was applied twice": lambda g, b, m, v: (g * g / v, ((0 - m) * g / np.sqrt(v) + b - m) * g / np.sqrt(v) + b),
    "the mean has the wrong sign": lambda g, b, m, v: (g / np.sqrt(v), b + m * g / np.sqrt(v)),
}


def list_folding() -> Iterator[tuple[str, Pair]]:
    """All mistakes, and none."""
    yield "batch normalisations folded", of(pairs.base, pairs.fold, "same", "folded")
    for cause in MISTAKES:
        yield f"folded: {cause}", fold_wrongly(cause)
