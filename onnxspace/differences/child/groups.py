"""Every node of either file in exactly one group, with what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from onnxspace.differences.child.alignment import Described
from onnxspace.differences.child.judgement import Match
from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import Graph


@dataclass
class Group:
    """Nodes of both files that correspond: `status` as in `result.STATUSES`; `at` is the old node of its pair, if any."""

    status: str
    old: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    at: int | None = None


class Grouping:
    """The groups of two graphs, to which nodes are added."""

    def __init__(self, match: Match, statuses: Mapping[int, str]) -> None:
        self.match, self._statuses = match, statuses
        self.groups: list[Group] = []
        self._places: tuple[dict[int, Group], dict[int, Group]] = ({}, {})
        self._graphs: tuple[Graph, Graph] = (match.old.side.graph, match.new.side.graph)
        for a, status in statuses.items():
            self._add_pair(a, status)

    def finish(self) -> list[Group]:
        """All groups, after nodes that move values, compute shapes and hold constants were added, in the order of the graphs."""
        for group in list(self.groups):
            if group.at is not None:
                self._pair_inputs(group.at, self.match.pairs[group.at])
        outputs = (graph.outputs for graph in self._graphs)
        for first, second in zip(*outputs, strict=False):
            self._pair_chain(first, second)
        self._pair_constants()
        self._add_rest(0, self.match.old, "removed")
        self._add_rest(1, self.match.new, "added")
        return sorted(self.groups, key=lambda group: (min(group.new, default=10**9), min(group.old, default=10**9)))

    def _add_pair(self, a: int, status: str) -> None:
        extras = self.match.extras(a)
        change = self.match.changes.get(a)
        equal = status in ("equal", "relaid") or (status == "downstream" and self.match.is_equal_locally(a))
        replaced = equal and self._is_replaced(a, extras)
        operators = self._graphs[0].nodes[a].op_type, self._graphs[1].nodes[self.match.pairs[a]].op_type
        other_layer = status == "departs" and operators[0] != operators[1] and (change is not None or any(extras))
        if replaced or other_layer or (change is not None and change.kind in ("folded_wrongly", "factorised", "regrouped")):
            self._record(Group("replaced" if replaced else status, [*extras[0], a], [*extras[1], self.match.pairs[a]], a))
            return
        if all(extras):  # other nodes that compute something else
            self._record(Group("departs", *extras))
        self._record(Group(status, [a], [self.match.pairs[a]], a))

    def _is_replaced(self, a: int, extras: tuple[list[int], list[int]]) -> bool:
        first, second = self._graphs[0].nodes[a], self._graphs[1].nodes[self.match.pairs[a]]
        if first.op_type != second.op_type or all(extras):
            return True
        return any(extras) and not self.match.is_same(a)

    def _record(self, group: Group) -> None:
        self.groups.append(group)
        for places, nodes in zip(self._places, (group.old, group.new), strict=True):
            places.update(dict.fromkeys(nodes, group))

    def _pair_inputs(self, a: int, b: int) -> None:
        """Pair the nodes that compute the inputs of two nodes, and theirs, as long as operators are the same."""
        waiting = [(a, b)]
        while waiting:
            a, b = waiting.pop()
            first, second = self._graphs[0].nodes[a], self._graphs[1].nodes[b]
            for one, two in self._match_inputs(first, second):
                waiting += self._pair_chain(one, two)

    def _match_inputs(self, first: NodeProto, second: NodeProto) -> Iterator[tuple[str, str]]:
        """The inputs at the same places; two that are swapped are swapped back."""
        pairs = list(zip(first.input, second.input, strict=False))
        if len(pairs) == 2 and self._are_partners(pairs[0][0], pairs[1][1]) and not self._are_partners(*pairs[0]):
            pairs = [(pairs[0][0], pairs[1][1]), (pairs[1][0], pairs[0][1])]
        yield from (pair for pair in pairs if all(pair))

    def _are_partners(self, one: str, two: str) -> bool:
        roots = (self.match.old.side.roots.get(one), self.match.new.side.roots.get(two))
        places = [graph.producer.get(root or "") for graph, root in zip(self._graphs, roots, strict=True)]
        if places[0] is None or places[1] is None:
            return roots[0] is not None and roots == (one, two) and places == [None, None]
        return self.match.pairs.get(places[0]) == places[1]

    def _pair_chain(self, one: str, two: str) -> list[tuple[int, int]]:
        """Pair the nodes that move values, or compute constants and shapes, directly above two tensors. Returns the pairs."""
        chains = [self._list_chain(k, name) for k, name in enumerate((one, two))]
        found = []
        while all(chains):
            a, b = chains[0].pop(), chains[1].pop()
            operators = [self._graphs[k].nodes[i].op_type for k, i in enumerate((a, b))]
            if operators[0] == operators[1]:
                found.append((a, b))
                self._record(Group(self._compare_small(a, b), [a], [b]))
            elif len(chains[0]) > len(chains[1]):
                chains[1].append(b)
            elif len(chains[1]) > len(chains[0]):
                chains[0].append(a)
            else:
                self._record(Group("replaced", [a], [b]))
        return found

    def _pair_constants(self) -> None:
        """Pair constants that are left by their names, where they hold the same values."""
        left = [dict(self._list_constants(k, one)) for k, one in enumerate((self.match.old, self.match.new))]
        for key, a in left[0].items():
            b = left[1].get(key)
            values = [] if b is None else [evaluate(graph, key[1], MOST_STEPS) for graph in self._graphs]
            if b is not None and values[0] is not None and values[1] is not None and np.array_equal(values[0], values[1]):
                self._record(Group("equal", [a], [b]))

    def _list_constants(self, k: int, one: Described) -> Iterator[tuple[tuple[str, str], int]]:
        """Nodes in no group that compute constants, by operator and output."""
        for i, node in enumerate(self._graphs[k].nodes):
            if i not in self._places[k] and i not in one.side.data and len(node.output) == 1:
                yield (node.op_type, node.output[0]), i

    def _list_chain(self, k: int, name: str) -> list[int]:
        """The nodes above a tensor that are in no group, from the last one that only moves values; for a constant its node."""
        graph, one, found = self._graphs[k], (self.match.old, self.match.new)[k], list[int]()
        while (i := graph.producer.get(name)) is not None and i not in self._places[k] and i not in found:
            if not (one.side.is_mover(i) or i not in one.side.data):
                break
            found.append(i)
            if i not in one.side.data:
                break
            name = graph.nodes[i].input[0]
        return found[::-1]

    def _compare_small(self, a: int, b: int) -> str:
        """What became of two nodes that move values: these are other ones, have another shape, or are equal."""
        old = self.match.old.side
        source = old.graph.producer.get(old.roots.get(next(iter(old.graph.nodes[a].output), ""), ""))
        if source is not None and self._statuses.get(source) in ("departs", "downstream"):
            return "downstream"
        first, second = (one.signature_of(i) for one, i in ((self.match.old, a), (self.match.new, b)))
        return "equal" if first is None or second is None or first.shape == second.shape else "relaid"

    def _add_rest(self, k: int, one: Described, status: str) -> None:
        """Put nodes that are left into the replaced group that reads them, constants into the group that alone does, or others into one of their own."""
        graph = self._graphs[k]
        for i in reversed(range(len(graph.nodes))):
            if i in self._places[k]:
                continue
            readers = [
                self._places[k][r]
                for name in graph.nodes[i].output
                for r in graph.consumers.get(name, [])
                if r in self._places[k]
            ]
            host = next((group for group in readers if group.status == "replaced" and i not in one.side.core), None)
            if host is None and i not in one.side.data and readers and _is_one_of(readers, status):
                host = readers[0]
            if host is None:
                own = ([i], []) if k == 0 else ([], [i])
                self._record(Group(status, *own))
            else:
                (host.old if k == 0 else host.new).insert(0, i)
                self._places[k][i] = host


def _is_one_of(readers: Sequence[Group], status: str) -> bool:
    """Whether all readers are in one group, which was added or removed."""
    return readers[0].status == status and all(group is readers[0] for group in readers)
