"""Pairs of images: what a model makes of them as one long vector, and how alike two such vectors rank the pairs."""

from __future__ import annotations

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, split_rows

#: 20,000 images have 2·10⁸ pairs: 1.6 GB as a vector, of which a few are needed at a time.
MOST_IMAGES = 20_000
#: Values closer than this are equal: products of equal rows differ by rounding, and a rank would tell them apart.
_DIGITS = 12


def pair_products(rows: Array) -> Array:
    """⟨row_i, row_j⟩ for i < j, row by row as in `np.triu_indices`: float64 [n(n − 1)/2], rounded to 12 digits.

    Raises ConfigError for fewer than 3 images, or more than 20,000.
    """
    count = len(rows)
    if not 3 <= count <= MOST_IMAGES:
        raise ConfigError(
            f"Comparing every pair of {count} images takes at least 3 of them and at most {MOST_IMAGES:,}; pass a sample."
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
    """Spearman's correlation with mean ranks for ties, −1 to 1. Raises ConfigError where all values of a vector are equal."""
    from scipy.stats import rankdata

    for values in (first, second):
        if values.max() == values.min():
            raise ConfigError("All pairs of images are equally alike to one of the two, so their order says nothing.")
    ranks = rankdata(first)
    ranks -= ranks.mean()
    others = rankdata(second)
    others -= others.mean()
    return float(np.clip(ranks @ others / np.sqrt((ranks @ ranks) * (others @ others)), -1.0, 1.0))


def spearman_with_split(values: Array, same: Array) -> float:
    """Spearman's correlation of values with a mark that is low for `same` (a part of the values) and high for all others.

    As `spearman` of a vector of two values, by one sort: of a mark, only the sum of the ranks of a side matters.
    """
    ordered = np.sort(values)
    count, marked = len(ordered), len(same)
    if ordered[0] == ordered[-1]:
        raise ConfigError("All pairs of images are equally alike in the features, so their order says nothing.")
    ranks = (np.searchsorted(ordered, same, "left") + np.searchsorted(ordered, same, "right") + 1) / 2
    edges = np.flatnonzero(np.diff(ordered, prepend=np.nan, append=np.nan) != 0)
    ties = np.diff(edges).astype(np.float64)
    spread = (count**3 - count - float((ties**3 - ties).sum())) / 12
    apart = marked * (count + 1) / 2 - float(ranks.sum())
    return float(np.clip(apart / np.sqrt(spread * marked * (count - marked) / count), -1.0, 1.0))
