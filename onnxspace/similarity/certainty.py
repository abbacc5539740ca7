"""How sure the ranking of a target's sources is: bootstrap over probe images, and the images after which nothing changes.

Images are drawn again with replacement (Efron 1979; percentile intervals as in Efron and Tibshirani 1993, chapter 13).
Where an affinity comes from fingerprints, whose errors differ from image to image, the intervals hold those errors too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.similarity.per_image import PerImageAffinities, PerImageShares
from onnxspace.similarity.ranking import Ranking

LEVEL = 0.95
RESAMPLES = 1000
#: Affinities that differ by less are equal: so far do two exports of one network differ by rounding alone.
TIE = 1e-5
_STRETCH = 2**21  # numbers that are worked on together


@dataclass(frozen=True)
class SourceCertainty:
    """One source: its affinity lies from `low` to `high` in 95 % of the resamples, and in the share `ahead` of them it is
    ahead of the next source in the ranking, a tie counting one half; None where it is the last.
    """

    source: str
    affinity: float
    low: float
    high: float
    ahead: float | None


@dataclass(frozen=True)
class Certainty:
    """How sure the ranking of the sources of `target` is, by resampling its `images`.

    `settled` is the number of probe images after which the ranking changes no more: the smallest n ≥ 1 such that for every
    n' ≥ n, in the order the images have, the mean cosine over the first n' images puts no source more than 10⁻⁵ behind the
    one that follows it in the ranking. A number near `images` says that more images may change the ranking again.
    """

    target: str
    sources: tuple[SourceCertainty, ...]
    settled: int
    images: int
    resamples: int = RESAMPLES
    level: float = LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        rows = [{"source": s.source, "low": s.low, "high": s.high, "ahead": s.ahead} for s in self.sources]
        return {
            "sources": rows, "settled": self.settled, "images": self.images, "resamples": self.resamples, "level": self.level,
        }  # fmt: skip


def certainty(
    ranking: Ranking,
    names: Sequence[str],
    known: PerImageAffinities | PerImageShares,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Certainty:
    """How sure `ranking` is, whose sources have these `names` in the order of `known`; the same for the same seed.

    Raises ConfigError where there is no resample.
    """
    if resamples < 1:
        raise ConfigError(f"A bootstrap needs at least one resample, not {resamples}.")
    place = {name: i for i, name in enumerate(names)}
    order = np.array([place[source] for source, _ in ranking.sources], np.intp)
    edges, ahead = np.empty((2, len(order))), np.empty(max(0, len(order) - 1))
    settled = 1
    for first, columns in _stretches(order, max(resamples, known.images)):
        drawn = _drawn(known, columns, resamples, seed)
        edges[:, first : first + len(columns)] = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        ahead[first : first + len(columns) - 1] = _ahead(drawn)
        settled = max(settled, _settled(known.means(_first_images, columns)))
    rows = zip(ranking.sources, edges.T.tolist(), [*ahead.tolist(), None], strict=False)
    sources = tuple(SourceCertainty(name, value, low, high, share) for (name, value), (low, high), share in rows)
    return Certainty(ranking.target, sources, settled, known.images, resamples)


def _stretches(order: NDArray[np.intp], rows: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Parts of the ranking and where they begin; each begins with the last of the part before, so that all neighbours meet."""
    step = max(1, _STRETCH // rows)
    for first in range(0, max(1, len(order) - 1), step):
        yield first, order[first : first + step + 1]


def _drawn(
    known: PerImageAffinities | PerImageShares, columns: NDArray[np.intp], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Affinities in each resample, float64 [resamples, columns]; images are drawn alike for all columns."""
    generator, step = np.random.default_rng(seed), max(1, _STRETCH // known.images)
    parts = [min(step, resamples - first) for first in range(0, resamples, step)]
    weights = (_weights(known.images, part, generator) for part in parts)
    return np.concatenate([known.means(partial(np.matmul, each), columns) for each in weights])


def _weights(images: int, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """The share of each image in each resample: float64 [resamples, images], rows summing to 1."""
    drawn = generator.integers(0, images, size=(resamples, images))
    counts = np.bincount((drawn + images * np.arange(resamples)[:, None]).ravel(), minlength=resamples * images)
    return counts.reshape(resamples, images) / images


def _first_images(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the first 1, 2, … images."""
    means: NDArray[np.float64] = np.cumsum(values, axis=0) / np.arange(1, len(values) + 1)[:, None]
    return means


def _ahead(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of rows of [resamples, sources] in which a source is ahead of the next: float64 [sources − 1]."""
    lead = drawn[:, :-1] - drawn[:, 1:]
    shares: NDArray[np.float64] = 0.5 + ((lead > TIE).mean(axis=0) - (lead < -TIE).mean(axis=0)) / 2
    return shares


def _settled(means: NDArray[np.float64]) -> int:
    """The first number of images from which on no source of [images, sources] is behind the next."""
    behind = np.flatnonzero((means[:-1, :-1] - means[:-1, 1:] < -TIE).any(axis=1))  # all images give the ranking itself
    return int(behind[-1]) + 2 if len(behind) else 1
