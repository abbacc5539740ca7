"""Nodes that correspond because they are the only ones of their kind that read what corresponds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnxspace.differences.child.alignment import Described, kind_of
from onnxspace.differences.child.extension import list_readers


def pair_neighbours(old: Described, new: Described, taken: dict[int, int]) -> dict[int, int]:
    """Pair nodes that are left: branches that one file writes in another order hide them from an alignment in order."""
    found, used = dict(taken), set(taken.values())
    for a in old.side.core:
        if a in found:
            continue
        partners = set(_list_partners(old, a, new, found))
        if len(partners := partners - used) == 1:
            (found[a],) = partners
            used |= partners
    return dict(sorted(found.items()))


def _list_producers(one: Described, index: int) -> Iterator[int]:
    """The nodes that compute what a node reads, wherever it was moved."""
    places = (one.side.graph.producer.get(one.side.roots[name]) for name in one.side.reads_of(index))
    return (place for place in places if place is not None)


def _list_partners(old: Described, a: int, new: Described, pairs: Mapping[int, int]) -> Iterator[int]:
    """The nodes of the kind and the size of `a` that read what corresponds to all that it reads, and nothing else."""
    producers = set(_list_producers(old, a))
    if not producers or not producers <= pairs.keys():
        return
    kind, size = kind_of(old.side.graph.nodes[a].op_type), old.signature_of(a)
    for b in list_readers(new, pairs[min(producers)]):
        own = new.signature_of(b)
        alike = (
            kind_of(new.side.graph.nodes[b].op_type) == kind
            and size is not None
            and own is not None
            and size.sides == own.sides
        )
        if alike and set(_list_producers(new, b)) == {pairs[producer] for producer in producers}:
            yield b
