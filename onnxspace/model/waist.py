"""Waists of encoder–decoders: what lies above one only decodes, so that less than half of the work may lie below it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

from onnxspace.model.records import Candidate
from onnxspace.model.trunk import Trunk

#: Shares of the work above a waist: at fewer positions at most, at more positions at least. Numbers of positions that differ by less
#: than the factor are equal: a class token is added, or a convolution is not padded.
_FEWER, _MORE, _FACTOR = 0.05, 0.5, 1.5


def find_waists(trunk: Trunk, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Yield the candidates above which trained nodes work at more positions than the candidate has, as those of a decoder do."""
    positions = np.array([trunk.count_positions(i) or 0 for i in trunk.parametric], np.float64)
    work = np.array([trunk.work[i] for i in trunk.parametric], np.float64)
    for candidate in candidates:
        first = bisect_right(trunk.parametric, trunk.graph.producer[candidate.tensor])
        channels = trunk.count_channels(trunk.parametric[first - 1])
        above, total = positions[first:], work[first:].sum()
        if candidate.elements is None or not channels or not total:
            continue
        own = candidate.elements / channels
        fewer, more = (work[first:][where].sum() for where in (above * _FACTOR < own, above > own * _FACTOR))
        if fewer <= _FEWER * total and more >= _MORE * total:
            yield candidate
