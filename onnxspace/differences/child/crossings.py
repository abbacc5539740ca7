"""Nodes whose partners stand crosswise although what reads them does not: paired by their places again, so that they count as swapped."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from onnxspace.differences.child.alignment import ALIKE, Described, kind_of
from onnxspace.differences.child.extension import list_readers
from onnxspace.differences.child.signatures import measure_distance

#: Operators whose inputs may change places.
_COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "Sum", "Mean", "And", "Or", "Xor", "Equal"})
#: The most nodes of a branch, from its first one to what joins its values with others.
_LONGEST = 8
#: The inputs of a node from which on it joins values, and the most branches of one kind, each of which is compared with all others.
_JOINS, _MOST_BRANCHES = 2, 64


@dataclass(frozen=True)
class Branch:
    """A node, those behind it that alone read each other, and where another node joins their values with others: its place and input."""

    nodes: tuple[int, ...]
    join: tuple[int, int]


def uncross(old: Described, new: Described, pairs: Mapping[int, int]) -> dict[int, int]:
    """The pairs in which nodes that are crossed by their weights, or by values that are joined in another order, correspond by their places."""
    found = dict(pairs)
    _uncross_weights(old, new, found)
    for a, other in _list_crossings(old, found):
        _uncross_values(old, new, (a, other), found)
    return dict(sorted(found.items()))


def _uncross_weights(old: Described, new: Described, found: dict[int, int]) -> None:
    """Pair layers with equal weights and other values by their order, where it is another one."""
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for a, b in found.items():
        if _have_equal_weights(old, new, a, b) and not _have_equal_values(old, new, a, b):
            key = kind_of(old.side.graph.nodes[a].op_type), old.layers[a].rows.shape
            groups.setdefault(key, []).append(a)
    for places in groups.values():
        found |= dict(zip(sorted(places), sorted(found[a] for a in places), strict=True))


def _have_equal_weights(old: Described, new: Described, a: int, b: int) -> bool:
    layers = old.layers.get(a), new.layers.get(b)
    return layers[0] is not None and layers[1] is not None and not layers[0].is_uniform and layers[0].digest == layers[1].digest


def _have_equal_values(old: Described, new: Described, a: int, b: int) -> bool:
    first, second = old.signature_of(a), new.signature_of(b)
    return first is not None and second is not None and measure_distance(first, second) <= ALIKE


def _list_crossings(old: Described, found: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Nodes of one operator and size that read the same values, in the order of the graph."""
    groups: dict[Hashable, list[int]] = {}
    for a in sorted(found):
        signature = old.signature_of(a)
        roots = tuple(old.side.roots[name] for name in old.side.reads_of(a))
        if signature is not None:
            groups.setdefault((kind_of(old.side.graph.nodes[a].op_type), signature.sides, roots), []).append(a)
    for places in (one for one in groups.values() if len(one) <= _MOST_BRANCHES):
        for k, a in enumerate(places):
            yield from ((a, other) for other in places[k + 1 :])


def _uncross_values(old: Described, new: Described, crossed: tuple[int, int], found: dict[int, int]) -> None:
    """Exchange the partners of two branches that are joined in the other order."""
    if found[crossed[0]] < found[crossed[1]]:
        return
    mine = [_follow(old, a) for a in crossed]
    theirs = [_follow(new, found[a]) for a in crossed]
    if not all(mine) or not all(theirs):
        return
    ours = [branch for branch in mine if branch is not None], [branch for branch in theirs if branch is not None]
    if _are_joined_crosswise(old, new, *ours) and _have_same_operators(old, new, *ours):
        for branch, other in zip(ours[0], reversed(ours[1]), strict=True):
            found.update(zip(branch.nodes, other.nodes, strict=True))


def _follow(one: Described, index: int) -> Branch | None:
    """The branch from a node to where its values are joined with others; None where several nodes read them before."""
    nodes = [index]
    for _ in range(_LONGEST):
        readers = list_readers(one, nodes[-1])
        if len(readers) != 1:
            return None
        inputs = [one.side.roots.get(name) for name in one.side.graph.nodes[readers[0]].input]
        output = one.output_of(nodes[-1])
        if sum(name is not None for name in inputs) >= _JOINS:
            return Branch(tuple(nodes), (readers[0], inputs.index(output))) if output in inputs else None
        nodes.append(readers[0])
    return None


def _are_joined_crosswise(old: Described, new: Described, mine: list[Branch], theirs: list[Branch]) -> bool:
    """Whether the order in which branches are joined is another one: inputs of one node, or nodes of which one depends on the other."""
    joins = [branch.join for branch in (*mine, *theirs)]
    if (joins[0] < joins[1]) == (joins[2] < joins[3]) or (joins[0][0] == joins[1][0]) != (joins[2][0] == joins[3][0]):
        return False
    if joins[0][0] == joins[1][0]:
        return old.side.graph.nodes[joins[0][0]].op_type not in _COMMUTATIVE
    return _depends(old, joins[0][0], joins[1][0]) and _depends(new, joins[2][0], joins[3][0])


def _depends(one: Described, first: int, second: int) -> bool:
    """Whether the later one of two nodes depends on the other."""
    early, late = sorted((first, second))
    reached = set(one.side.graph.nodes[early].output)
    for i in range(early + 1, late + 1):
        if not reached.isdisjoint(one.side.graph.reads[i]):
            reached.update(one.side.graph.nodes[i].output)
    return not reached.isdisjoint(one.side.graph.nodes[late].output)


def _have_same_operators(old: Described, new: Described, mine: list[Branch], theirs: list[Branch]) -> bool:
    operators = [
        [kind_of(one.side.graph.nodes[i].op_type) for i in branch.nodes]
        for one, own in ((old, mine), (new, theirs))
        for branch in own
    ]
    return all(found == operators[0] for found in operators)
