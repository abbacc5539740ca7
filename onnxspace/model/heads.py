"""The heads of a network: where they branch off its trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
            return self._inputs_of(ends)
        leaving = [n for i in sorted(shared) for n in graph.nodes[i].output if self._is_branch_point(n, shared, reached)]
        return self._select(leaving) or self._inputs_of(ends)

    def _select(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that are floating-point tensors with a parametric node below."""
        return [name for name in names if self.trunk.is_float(name) and self.trunk.graph.producer.get(name) in self._trained]

    @cached_property
    def _trained(self) -> set[int]:
        """Parametric nodes of the trunk, and all nodes that depend on them."""
        graph = self.trunk.graph
        outputs = {name for i in self.trunk.parametric for name in graph.nodes[i].output if name}
        return graph.readers_of(outputs) | set(self.trunk.parametric)

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

    def _inputs_of(self, ends: Sequence[int]) -> list[str]:
        read = [n for i in ends for n in self.trunk.graph.nodes[i].input if n in self.trunk.tensors]
        return self._select([name for name in dict.fromkeys(read) if name != self.trunk.model.image.name])
