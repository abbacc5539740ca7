"""One of the two networks: which of its nodes compute values of the input, and which only move them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto

from onnxspace.model.graph import SHAPE_ONLY, Graph
from onnxspace.model.network import Network

#: Operators whose first output has the values of their first input, in another order, shape or precision.
MOVERS = frozenset({
    "Identity", "Cast", "CastLike", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "QuantizeLinear",
    "DequantizeLinear",
})  # fmt: skip
Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Side:
    """A network to be compared, the feeds of its inputs (one per image), and its nodes by what they do.

    `data` are the nodes that compute with values of the inputs, `core` those of them that do more than move values; `roots`
    has, for each tensor of theirs, the tensor that it is a moved copy of. `path` names it in errors.
    """

    network: Network
    path: str
    feeds: tuple[Feed, ...]
    data: frozenset[int]
    core: tuple[int, ...]
    roots: Mapping[str, str]

    @property
    def graph(self) -> Graph:
        return self.network.graph

    @property
    def tensors(self) -> tuple[str, ...]:
        """The inputs, and the tensors that nodes with values of the inputs compute."""
        computed = (name for i in sorted(self.data) for name in self.graph.nodes[i].output if name)
        return (*(value.name for value in self.graph.inputs), *computed)

    def reads_of(self, index: int) -> list[str]:
        """The tensors with values of the inputs that a node reads, without those whose shape it reads."""
        return [name for name in self.graph.nodes[index].input if name in self.roots]

    def is_mover(self, index: int) -> bool:
        """Whether a node only moves the values of its first input."""
        node = self.graph.nodes[index]
        return (
            index in self.data
            and bool(node.output)
            and self.roots.get(node.output[0]) != node.output[0]
            and node.op_type in MOVERS
        )


def read_side(network: Network, path: str, feeds: tuple[Feed, ...], computing: Collection[int] = ()) -> Side:
    """The side of a network whose inputs get `feeds`, one per image; nodes of `computing` count as such whatever their operator is."""
    graph = network.graph
    roots = {value.name: value.name for value in graph.inputs}
    data, core = set[int](), list[int]()
    for i, node in enumerate(graph.nodes):
        if node.op_type in SHAPE_ONLY or roots.keys().isdisjoint(graph.reads[i]):
            continue
        data.add(i)
        moved = None if i in computing else _moved_from(node, roots)
        roots |= {name: moved if moved and not place else name for place, name in enumerate(node.output) if name}
        if not moved:
            core.append(i)
    return Side(network, path, feeds, frozenset(data), tuple(core), roots)


def _moved_from(node: NodeProto, roots: Mapping[str, str]) -> str | None:
    return roots.get(node.input[0]) if node.op_type in MOVERS and node.input else None
