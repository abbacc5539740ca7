"""Attention in a graph, found by its structure: a Softmax over keys of a product of two tensors, which then weights a third."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx

from onnxspace.model.graph import Graph
from onnxspace.model.model import Model

#: Operators between the product of queries and keys, the Softmax, and the product with the values.
_PASSING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Where", "Identity", "Cast", "Dropout", "Reshape", "Transpose", "Clip", "Sum"}
)
_PRODUCTS = frozenset({"MatMul", "Einsum", "FusedMatMul"})
#: Operators that are a whole attention, whose probabilities no tensor of the graph holds.
FUSED = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention", "PackedAttention", "QAttention"})


@dataclass(frozen=True)
class Attention:
    """One attention: the tensor of its `probabilities` (empty where an operator holds them), the `operands` of queries and keys, and
    the `result`, which is the product with the values."""

    node: int
    probabilities: str
    operands: tuple[str, ...]
    result: str

    def find_sources(self, graph: Graph) -> set[int]:
        """Nodes on which queries and keys both depend."""
        return set.intersection(*(graph.ancestors_of([name]) for name in self.operands)) if self.operands else set()

    def find_interior(self, graph: Graph) -> set[int]:
        """Nodes between these and the result: heads apart, scores and probabilities."""
        return graph.ancestors_of([self.result]) - self.find_sources(graph)


def find_attentions(model: Model, tensors: Sequence[str]) -> list[Attention]:
    """Return the attentions on which `tensors` depend, in the order of the graph; attention operators are among them."""
    graph = model.graph
    live = graph.descendants_of(model.image.name)
    return [found for i in sorted(graph.ancestors_of(tensors) & live) if (found := _read_attention(graph, i, live)) is not None]


def _read_attention(graph: Graph, place: int, live: set[int]) -> Attention | None:
    node = graph.nodes[place]
    if node.op_type in FUSED:
        return Attention(place, "", tuple(name for name in node.input if graph.producer.get(name) in live), node.output[0])
    if node.op_type != "Softmax" or not node.output:
        return None
    product = next((p for p in _walk_down(graph, node.input[0], live) if _multiplies_two(graph, p, live)), None)
    weighted = next((user for user in _walk_up(graph, node.output[0]) if _multiplies_two(graph, user, live)), None)
    if product is None or weighted is None:
        return None
    return Attention(place, node.output[0], tuple(graph.nodes[product].input[:2]), graph.nodes[weighted].output[0])


def _multiplies_two(graph: Graph, place: int, live: set[int]) -> bool:
    """Whether a node multiplies two tensors that both depend on the image."""
    node = graph.nodes[place]
    return node.op_type in _PRODUCTS and sum(graph.producer.get(name) in live for name in node.input[:2]) == 2


def _walk_down(graph: Graph, name: str, live: set[int]) -> Iterator[int]:
    """Nodes from which `name` is computed by steps that keep scores."""
    waiting, seen = [name], set[int]()
    while waiting:
        place = graph.producer.get(waiting.pop())
        if place is None or place in seen or place not in live:
            continue
        seen.add(place)
        yield place
        if _passes(graph.nodes[place]):
            waiting += list(graph.nodes[place].input)


def _walk_up(graph: Graph, name: str) -> Iterator[int]:
    """Nodes that read `name`, or what is computed of it by steps that keep probabilities."""
    waiting, seen = [name], set[int]()
    while waiting:
        for place in graph.consumers.get(waiting.pop(), []):
            if place not in seen:
                seen.add(place)
                yield place
                waiting += list(graph.nodes[place].output) if _passes(graph.nodes[place]) else []


def _passes(node: onnx.NodeProto) -> bool:
    return node.op_type in _PASSING
