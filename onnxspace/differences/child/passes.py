"""Run both networks side by side: their tensors are compared value by value, or one gets the values of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.alignment import Described
from onnxspace.differences.child.layouts import Order, arrange, find_order, list_orders
from onnxspace.differences.child.quantised import Scale, find_scales
from onnxspace.differences.child.segments import Feed, SegmentedRun
from onnxspace.differences.child.sides import Side, read_side
from onnxspace.differences.child.signatures import Signature, join_images, measure_distance, measure_signature
from onnxspace.differences.child.statistics import PairStatistics

Array = NDArray[Any]
Advance = Callable[[int], None]
#: Distance from which on an operator that only moves values counts as one that computes.
_CLIPPED = 0.1
#: The part of a step by which rounding moves a value at most.
_ROUNDED = 0.51


@dataclass(frozen=True)
class TensorPair:
    """A tensor of the old network and the one of the new network that corresponds to it."""

    old: str
    new: str


class _Stream:
    """The values of a network's tensors as they are computed; those that are not yet taken as often as they are named are kept."""

    def __init__(self, run: SegmentedRun, names: Iterable[str], feed: Feed) -> None:
        self._left, self._waiting = Counter(names), dict[str, Array]()
        self._parts = run.iterate(feed)

    def take(self, name: str) -> Array:
        while name not in self._waiting:
            self._waiting |= {key: value for key, value in next(self._parts).items() if key in self._left}
        self._left[name] -= 1
        return self._waiting[name] if self._left[name] else self._waiting.pop(name)


def measure_side(side: Side, run: SegmentedRun, advance: Advance) -> dict[str, Signature]:
    """The signatures of a network's tensors, which `run` yields, in constant memory. Raises ModelError."""
    scales = find_scales(side.graph)
    found: dict[str, Signature] = {}
    for feed in side.feeds:
        _add_signatures(found, run.iterate(feed), scales)
        advance(1)
    return found


def _add_signatures(found: dict[str, Signature], parts: Iterator[dict[str, Array]], scales: Mapping[str, Scale]) -> None:
    """Add the signatures of an image's tensors to those of the images before."""
    for name, value in _iterate(parts):
        own = replace(measure_signature(decode(scales, name, value)), dtype=str(value.dtype))
        found[name] = join_images(found[name], own) if name in found else own


def compare_values(
    old: Described, new: Described, pairs: list[TensorPair], ranges: Mapping[str, float], advance: Advance
) -> dict[TensorPair, PairStatistics]:
    """Statistics of pairs of tensors of one size over all images; `ranges` has the largest magnitudes of the old tensors."""
    found: dict[TensorPair, PairStatistics] = {}
    partners: dict[str, list[TensorPair]] = {}
    for pair in pairs:
        partners.setdefault(pair.new, []).append(pair)
    scales = find_scales(old.side.graph), find_scales(new.side.graph)
    runs = old.run, new.run
    for image in range(len(new.side.feeds)):
        stream = _Stream(runs[0], (pair.old for pair in pairs), old.side.feeds[image])
        for part in runs[1].iterate(new.side.feeds[image]):
            for name, value in part.items():
                for pair in partners.get(name, ()):
                    both = decode(scales[0], pair.old, stream.take(pair.old)), decode(scales[1], name, value)
                    if pair not in found:
                        order = find_order(*both)
                        found[pair] = PairStatistics(order, ranges[pair.old])
                    found[pair].add(arrange(both[0], found[pair].order, both[1].shape), both[1])
        advance(1)
    return found


def decode(scales: Mapping[str, Scale], name: str, value: Array) -> Array:
    """The numbers that the values of a tensor stand for."""
    return scales[name].decode(value) if name in scales and value.dtype.kind in "iu" else value


@dataclass(frozen=True)
class LocalValues:
    """What new nodes compute from old values: signatures by tensor, and |new − old| / |old| where it has a counterpart."""

    signatures: Mapping[str, Signature]
    errors: Mapping[str, float]


def measure_locally(
    old: Described, new: Described, pairs: Mapping[str, tuple[str, Order | None]], ends: Mapping[str, str], advance: Advance
) -> LocalValues:
    """What the new network's tensors are where readers of some of them get the values of the old network.

    `pairs` has, by tensor of the new network, the one of the old network whose values are read, and the order of its axes; `ends` has
    the tensors of the old network by those of the new one that are compared with them, of the same size.
    """
    overridden = {name for name in pairs if name in new.signatures} - _find_captured(new.side)
    scales = find_scales(old.side.graph), find_scales(new.side.graph)
    sources = [*(pairs[name][0] for name in overridden), *ends.values()]
    side = new.side
    runs = old.run, SegmentedRun(side.network, side.path, side.feeds[0], side.tensors, overridden)
    found: dict[str, Signature] = {}
    sums = {name: _Sums() for name in ends}
    for image in range(len(new.side.feeds)):
        stream = _Stream(runs[0], sources, old.side.feeds[image])

        def read_old(name: str, stream: _Stream = stream) -> Array:
            source, order = pairs[name]
            value, target = decode(scales[0], source, stream.take(source)), new.signatures[name]
            return _fit(arrange(value, order, target.shape), target, scales[1].get(name))

        parts = _compare_ends(runs[1].iterate(new.side.feeds[image], read_old), stream, ends, sums, scales)
        _add_signatures(found, parts, scales[1])
        advance(1)
    return LocalValues(found, {name: one.relative for name, one in sums.items() if one.relative is not None})


@dataclass
class _Sums:
    """Squares of differences and of old values, added up over images, in the order of axes that fits the first one."""

    gap: float = 0.0
    old: float = 0.0
    order: Order | None = None
    seen: bool = False

    def add(self, old: Array, new: Array) -> None:
        if not self.seen:
            self.order, self.seen = find_order(old, new), True
        first, second = (one.astype(np.float32, copy=False).ravel() for one in (arrange(old, self.order, new.shape), new))
        self.gap += float(np.square(second - first, dtype=np.float32).sum(dtype=np.float64))
        self.old += float(np.square(first, dtype=np.float32).sum(dtype=np.float64))

    @property
    def relative(self) -> float | None:
        found = float(np.sqrt(self.gap / self.old)) if self.old else (0.0 if not self.gap else float("inf"))
        return found if self.seen and np.isfinite(found) else None


def _compare_ends(
    parts: Iterator[dict[str, Array]], stream: _Stream, ends: Mapping[str, str], sums: Mapping[str, _Sums],
    scales: tuple[Mapping[str, Scale], Mapping[str, Scale]],
) -> Iterator[dict[str, Array]]:  # fmt: skip
    """Yield the parts as they are, and add up how far their tensors are from those of the old network."""
    for part in parts:
        for name in part.keys() & ends.keys():
            before = decode(scales[0], ends[name], stream.take(ends[name]))
            sums[name].add(before, decode(scales[1], name, part[name]))
        yield part


def _iterate(parts: Iterator[dict[str, Array]]) -> Iterator[tuple[str, Array]]:
    for part in parts:
        yield from ((name, value) for name, value in part.items() if value.dtype.kind in "fiub")


def _fit(value: Array, target: Signature, scale: Scale | None) -> Array:
    dtype = np.dtype(target.dtype)
    if dtype.kind in "iu" and scale is not None:
        return scale.encode(value, dtype)
    return np.ascontiguousarray(value, dtype)


def promote_movers(side: Side, signatures: Mapping[str, Signature]) -> Side:
    """The side with those nodes among the ones that compute something that only move values elsewhere, such as a clipping quantisation."""
    nodes = side.graph.nodes
    scales = find_scales(side.graph)
    moving = [i for i in side.data if side.is_mover(i) and nodes[i].op_type not in ("Cast", "Identity")]
    ends = {i: (signatures.get(nodes[i].input[0]), signatures.get(nodes[i].output[0])) for i in moving}
    computing = {i for i in moving if _changes(*ends[i], scales.get(nodes[i].output[0]))}
    return read_side(side.network, side.path, side.feeds, computing) if computing else side


def _changes(before: Signature | None, after: Signature | None, scale: Scale | None) -> bool:
    """Whether a node that moves values changes them, by more than rounding to integers can."""
    if before is None or after is None or before.bad or measure_distance(before, after) <= _CLIPPED:
        return False
    furthest = float(np.abs(before.quantiles - after.quantiles).max()) if before.size == after.size else np.inf
    return scale is None or furthest > _ROUNDED * scale.step


def _find_captured(side: Side) -> set[str]:
    """Tensors that subgraphs read from outside."""
    graph = side.graph
    return {name for i, node in enumerate(graph.nodes) for name in graph.reads[i] if name not in node.input}


def guess_order(old: Signature, new: Signature) -> Order | None:
    """The likeliest order of axes between two tensors, by their shapes."""
    order = next(list_orders(old.shape, new.shape), None)
    return None if order is None or list(order) == sorted(order) else order
