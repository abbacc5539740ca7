"""Certainty of a target's ranking: bootstrap over probe images, and the number of images after which it is stable.

Images are resampled with replacement (Efron 1979; percentile intervals as in Efron and Tibshirani 1993, chapter 13).
Where an affinity comes from fingerprints, whose errors vary between images, the intervals include those errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.similarity.mean_rank import TIE
from onnxspace.similarity.per_image import PerImageAffinities, PerImageRanks, PerImageShares
from onnxspace.similarity.ranking import Ranking
from onnxspace.storage.data_frames import NUMBER, TEXT, make_frame
from onnxspace.storage.short_text import MOST_LINES, align, count, format_value, join_lines

LEVEL = 0.95
RESAMPLES = 1000
#: Per-image values of one target.
PerImage = PerImageAffinities | PerImageShares | PerImageRanks
_STRETCH = 2**21  # numbers that are processed together


@dataclass(frozen=True)
class SourceCertainty:
    """One source: `low` and `high` are the 95 % interval of its `value` over the resamples.

    `ahead` is the share of resamples in which it is ahead of the next source in the ranking, with a tie counting one half;
    None for the last source.
    """

    source: str
    value: float
    low: float
    high: float
    ahead: float | None


@dataclass(frozen=True)
class Certainty:
    """Certainty of the ranking of the sources of `target`, by resampling its `images`.

    `settled` is the number of probe images after which the ranking no longer changes: the smallest n ≥ 1 such that for every
    n' ≥ n, the value over the first n' images puts no source more than 10⁻⁵ behind the one that follows it in the ranking.
    Images are in their order for maps, and in that of their content for features. A number near `images` means that more images may still change the ranking.
    `brackets` are those of the sources by the same resamples, as in `Ranking`; empty in what earlier versions stored.
    """

    target: str
    sources: tuple[SourceCertainty, ...]
    settled: int
    images: int
    resamples: int = RESAMPLES
    level: float = LEVEL
    brackets: tuple[int, ...] = ()

    def __repr__(self) -> str:
        best = self.sources[:MOST_LINES]
        rows = [[one.source, *map(format_value, (one.value, one.low, one.high))] for one in best]
        heading = f"Certainty of the sources for {self.target}: value, and {self.level:.0%} interval over {count(self.images, 'image')}"
        settled = f"The order no longer changes after {self.settled} of {count(self.images, 'image')}."
        return join_lines(heading, align(rows, len(self.sources)), [settled])

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per source, best first, and the columns `target`, `source`, `value`, `low`, `high`, `ahead`.

        They are as in `SourceCertainty`; `ahead` of the last source is missing. Raises MissingLibraryError where pandas is not installed.

        >>> found.certainty["a"].to_dataframe()[["source", "low", "high"]]  # doctest: +SKIP
        """
        columns = {"target": TEXT, "source": TEXT, "value": NUMBER, "low": NUMBER, "high": NUMBER, "ahead": NUMBER}
        return make_frame(columns, [(self.target, s.source, s.value, s.low, s.high, s.ahead) for s in self.sources])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as an object for `json.dumps`.

        >>> found.certainty["a"].to_dict()["settled"]  # doctest: +SKIP
        41
        """
        rows = [{"source": s.source, "low": s.low, "high": s.high, "ahead": s.ahead} for s in self.sources]
        return {
            "sources": rows, "settled": self.settled, "images": self.images, "resamples": self.resamples, "level": self.level,
        }  # fmt: skip


def estimate_certainty(
    ranking: Ranking,
    names: Sequence[str],
    known: PerImage,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Certainty:
    """Estimate the certainty of `ranking` by resampling images.

    `known` holds the target's per-image values against all models [images, models], whose `names` are in the same order.
    `resamples` (at least 1) bootstrap samples are drawn from `seed`, so the same arguments give the same result. Raises
    ConfigError for fewer than one resample.
    """
    if resamples < 1:
        raise ConfigError(f"A bootstrap needs at least one resample, not {resamples}.")
    place = {name: i for i, name in enumerate(names)}
    order = np.array([place[source] for source, _ in ranking.sources], np.intp)
    edges, ahead = np.empty((2, len(order))), np.empty(max(0, len(order) - 1))
    settled, brackets = 1, _Brackets()
    for first, columns in _split_ranking(order, max(resamples, known.images)):
        drawn = brackets.add(first, _resample_means(known, brackets.join(order, columns), resamples, seed))
        edges[:, first : first + len(columns)] = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        ahead[first : first + len(columns) - 1] = _share_ahead(drawn)
        settled = max(settled, _count_until_settled(known.means(_running_means, columns)))
    rows = zip(ranking.sources, edges.T.tolist(), [*ahead.tolist(), None], strict=False)
    sources = tuple(SourceCertainty(name, value, low, high, share) for (name, value), (low, high), share in rows)
    return Certainty(ranking.target, sources, settled, known.images, resamples, brackets=tuple(brackets.found))


def find_brackets(
    ranking: Ranking, names: Sequence[str], known: PerImage, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[int, ...]:
    """Return the bracket of each source of `ranking`, from 1: sources of one bracket can't be told apart from its first.

    A new bracket begins with the first source that is behind in at least 97.5 % of the resamples of images, which are paired:
    all sources are compared on the same images. Arguments are as in `estimate_certainty`.
    """
    place = {name: i for i, name in enumerate(names)}
    order = np.array([place[source] for source, _ in ranking.sources], np.intp)
    brackets = _Brackets()
    for first, columns in _split_ranking(order, max(resamples, known.images)) if len(order) else ():
        brackets.add(first, _resample_means(known, brackets.join(order, columns), resamples, seed))
    return tuple(brackets.found)


@dataclass
class _Brackets:
    """The brackets of sources, part by part of a ranking; `leader` is the place of the first source of the last bracket."""

    found: list[int] = field(default_factory=list)
    leader: int = 0

    def join(self, order: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
        """The leader's column in front of those of a part."""
        return np.concatenate([order[self.leader : self.leader + 1], columns])

    def add(self, start: int, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add the sources of a part from the place `start` on, by their values in each resample, and return these without the leader's."""
        leader, part = drawn[:, :1], drawn[:, 1:]
        for place in range(max(start, len(self.found)), start + part.shape[1]):
            own = part[:, place - start, None]
            apart = float((leader - own > TIE).mean()) >= (1 + LEVEL) / 2
            if apart:
                self.leader, leader = place, own
            self.found.append((self.found[-1] if self.found else 1) + apart)
        return part


def _split_ranking(order: NDArray[np.intp], rows: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Parts of the ranking and their starts; each begins with the last source of the one before, so that no pair is split."""
    step = max(1, _STRETCH // rows)
    for first in range(0, max(1, len(order) - 1), step):
        yield first, order[first : first + step + 1]


def _resample_means(known: PerImage, columns: NDArray[np.intp], resamples: int, seed: int) -> NDArray[np.float64]:
    """Affinities in each resample, float64 [resamples, columns]; all columns share the same drawn images."""
    generator, step = np.random.default_rng(seed), max(1, _STRETCH // known.images)
    parts = [min(step, resamples - first) for first in range(0, resamples, step)]
    weights = (_draw_weights(known.images, part, generator) for part in parts)
    return np.concatenate([known.means(partial(np.matmul, each), columns) for each in weights])


def _draw_weights(images: int, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """The share of each image in each resample: float64 [resamples, images], rows summing to 1."""
    drawn = generator.integers(0, images, size=(resamples, images))
    counts = np.bincount((drawn + images * np.arange(resamples)[:, None]).ravel(), minlength=resamples * images)
    return counts.reshape(resamples, images) / images


def _running_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the first 1, 2, … images, float64 [images, columns]."""
    means: NDArray[np.float64] = np.cumsum(values, axis=0) / np.arange(1, len(values) + 1)[:, None]
    return means


def _share_ahead(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of rows of [resamples, sources] in which a source is ahead of the next: float64 [sources − 1]."""
    lead = drawn[:, :-1] - drawn[:, 1:]
    shares: NDArray[np.float64] = 0.5 + ((lead > TIE).mean(axis=0) - (lead < -TIE).mean(axis=0)) / 2
    return shares


def _count_until_settled(means: NDArray[np.float64]) -> int:
    """The smallest number of images from which on no source of [images, sources] is behind the next."""
    behind = np.flatnonzero((means[:-1, :-1] - means[:-1, 1:] < -TIE).any(axis=1))  # the last row is the ranking itself
    return int(behind[-1]) + 2 if len(behind) else 1
