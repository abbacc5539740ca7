"""Representational dissimilarity: similarities of all pairs of images as one vector, and rank correlations of such vectors."""

from __future__ import annotations

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, split_rows

#: 20,000 images have 2·10⁸ pairs: 1.6 GB per vector, of which several are needed at a time.
MOST_IMAGES = 20_000
#: Digits to which values are rounded, as products of equal rows differ by rounding, which would change ranks.
_DIGITS = 12


def pair_products(rows: Array) -> Array:
    """Return ⟨row_i, row_j⟩ for i < j in the order of `np.triu_indices`: float64 [n(n − 1)/2], rounded to 12 digits.

    `rows` is float64 [n, columns], one row per image. Raises ConfigError for fewer than 3 images, or more than 20,000.
    """
    count = len(rows)
    if not 3 <= count <= MOST_IMAGES:
        raise ConfigError(
            f"Comparing every pair of images needs 3 to {MOST_IMAGES:,} images, not {count}; pass a sample, or more images."
        )
    found, place = np.empty(count * (count - 1) // 2), 0
    for part in split_rows(count, max(count, rows.shape[1])):
        products = rows[part] @ rows[part.start :].T
        for row in range(len(products)):
            values = products[row, row + 1 :]
            found[place : place + len(values)] = values
            place += len(values)
    return np.round(found, _DIGITS, out=found)


def spearman(first: Array, second: Array) -> float:
    """Return Spearman's correlation of two vectors, float64 [pairs], with mean ranks for ties: −1 to 1.

    Raises ConfigError where all values of a vector are equal.
    """
    from scipy.stats import rankdata

    for values in (first, second):
        if values.max() == values.min():
            raise ConfigError("All pairs of images are equally similar in one of the two, so their order is undefined.")
    ranks = rankdata(first)
    ranks -= ranks.mean()
    others = rankdata(second)
    others -= others.mean()
    return float(np.clip(ranks @ others / np.sqrt((ranks @ ranks) * (others @ others)), -1.0, 1.0))


def spearman_with_split(values: Array, same: Array) -> float:
    """Return Spearman's correlation of `values`, float64 [pairs], with a mark: low for `same`, a part of them, high for others.

    It equals `spearman` with a vector of two distinct values, by one sort, as only the rank sum of one side matters.
    Raises ConfigError where all values are equal.
    """
    ordered = np.sort(values)
    count, marked = len(ordered), len(same)
    if ordered[0] == ordered[-1]:
        raise ConfigError("All pairs of images are equally similar in the features, so their order is undefined.")
    ranks = (np.searchsorted(ordered, same, "left") + np.searchsorted(ordered, same, "right") + 1) / 2
    edges = np.flatnonzero(np.diff(ordered, prepend=np.nan, append=np.nan) != 0)
    ties = np.diff(edges).astype(np.float64)
    spread = (count**3 - count - float((ties**3 - ties).sum())) / 12
    apart = marked * (count + 1) / 2 - float(ranks.sum())
    return float(np.clip(apart / np.sqrt(spread * marked * (count - marked) / count), -1.0, 1.0))
