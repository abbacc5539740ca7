"""The end of a layer that one network has in several nodes and the other in fewer, where the values of both differ."""

from __future__ import annotations

from collections.abc import Iterator

from onnxspace.differences.child.alignment import ALIKE, Described
from onnxspace.differences.child.signatures import measure_distance

#: Nodes behind a layer that another network may have in it: bias, normalisation, addition of a branch, activation.
_MOST_BEHIND = 4
#: How much nearer the values of another node must be.
_NEARER = 0.7


def extend_layers(old: Described, new: Described, taken: dict[int, int]) -> dict[int, int]:
    """Pair the ends of layers: of the nodes behind either layer, the ones whose values are nearest."""
    found = dict(taken)
    for a, b in taken.items():
        operators = old.side.graph.nodes[a].op_type, new.side.graph.nodes[b].op_type
        if a not in old.layers and b not in new.layers and operators[0] == operators[1]:
            continue
        here = _distance(old, new, a, b)
        if here <= ALIKE:
            continue
        ends = [(k, b) for k in _list_behind(old, a, set(found))] + [(a, k) for k in _list_behind(new, b, set(found.values()))]
        best = min(ends, key=lambda pair: _distance(old, new, *pair), default=(a, b))
        if best != (a, b) and _distance(old, new, *best) < _NEARER * here:
            del found[a]
            found[best[0]] = best[1]
    return dict(sorted(found.items()))


def _distance(old: Described, new: Described, a: int, b: int) -> float:
    first, second = old.signature_of(a), new.signature_of(b)
    return float("inf") if first is None or second is None else measure_distance(first, second)


def _list_behind(one: Described, index: int, taken: set[int]) -> Iterator[int]:
    """The nodes that alone read the node's values, one after the other, as long as no other node corresponds to them."""
    for _ in range(_MOST_BEHIND):
        readers = list_readers(one, index)
        if len(readers) != 1 or readers[0] in taken:
            return
        index = readers[0]
        yield index


def list_readers(one: Described, index: int) -> list[int]:
    """The nodes that compute with a node's values, wherever these are moved."""
    graph, found, waiting = one.side.graph, set[int](), list(one.side.graph.nodes[index].output)
    while waiting:
        for reader in graph.consumers.get(name := waiting.pop(), []):
            if reader not in one.side.data:
                continue
            if one.side.is_mover(reader) and graph.nodes[reader].input[0] == name:
                waiting += graph.nodes[reader].output[:1]
            else:
                found.add(reader)
    return sorted(found)
