"""The heads of a network: where they branch off its trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from onnxspace.model.trunk import Trunk


def find_head_roots(trunk: Trunk) -> list[str]:
    """Names of the tensors at which the heads of a network branch off its trunk.

    A head ends in a last parametric node; nodes that two or more of these depend on are shared. With one such end there are no
    heads, and the inputs of that last node are returned.
    """
    return _Heads(trunk).find_roots()


@dataclass(frozen=True)
class _Heads:
    """The heads of a trunk."""

    trunk: Trunk

    def find_roots(self) -> list[str]:
        graph = self.trunk.graph
        ends = [i for i in self.trunk.parametric if not self.trunk.feeds_parametric(i)]
        reached = self._ends_reached(ends)
        shared = {i for i in self.trunk.nodes if len(reached[i]) >= 2}
        if not shared:
            return inputs_of(self.trunk, ends)
        leaving = [n for i in sorted(shared) for n in graph.nodes[i].output if self._is_branch_point(n, shared, reached)]
        return _select(self.trunk, leaving) or inputs_of(self.trunk, ends)

    def _is_branch_point(self, name: str, shared: set[int], reached: dict[int, frozenset[int]]) -> bool:
        return any(i not in shared and reached[i] for i in self.trunk.users_of(name))

    def _ends_reached(self, ends: Sequence[int]) -> dict[int, frozenset[int]]:
        """At most two of the `ends` that lie above each node, which tell nodes of one head from shared ones."""
        last = frozenset(ends)
        reached: dict[int, frozenset[int]] = {}
        for i in reversed(self.trunk.nodes):
            own = last & {i}
            reached[i] = frozenset(islice(sorted(own.union(*(reached[j] for j in self.trunk.successors(i)))), 2))
        return reached


def inputs_of(trunk: Trunk, nodes: Sequence[int]) -> list[str]:
    """Names of the floating-point tensors behind trained nodes that `nodes` of a trunk read."""
    read = [name for i in nodes for name in trunk.graph.nodes[i].input if name in trunk.tensors]
    return _select(trunk, [name for name in dict.fromkeys(read) if name != trunk.model.image.name])


def _select(trunk: Trunk, names: Sequence[str]) -> list[str]:
    return [name for name in names if trunk.is_float(name) and trunk.is_trained(name)]
