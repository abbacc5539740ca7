"""Queries on an ONNX graph: ancestors and descendants of tensors, constants, and parametric nodes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxspace.model.topological_order import find_order

#: Operators that multiply their input with trained weights, and the index of the input that holds the weights.
PARAMETRIC: dict[str, int] = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "FusedConv": 1, "FusedGemm": 1, "FusedMatMul": 1,
    "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3, "MatMulNBits": 1,
    "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "QAttention": 1, "NhwcConv": 1, "NhwcFusedConv": 1,
    "DynamicQuantizeLSTM": 1,
    "LSTM": 1, "GRU": 1, "RNN": 1,
}  # fmt: skip
#: Operators whose output depends on a tensor's shape and not on its values: no gradient flows through them.
SHAPE_ONLY = frozenset({"Shape", "Size"})


def iter_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Iterate over every dense tensor of a model: initialisers and attributes, including those of subgraphs and functions."""
    yield from _iter_graph_tensors(model.graph)
    for function in model.functions:
        yield from _iter_attribute_tensors(function.attribute_proto)
        for node in function.node:
            yield from _iter_attribute_tensors(node.attribute)


def _iter_graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _iter_attribute_tensors(node.attribute)


def _iter_attribute_tensors(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in chain(attribute.sparse_tensors, [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []):
            yield from (sparse.values, sparse.indices)
        for graph in subgraphs_of(attribute):
            yield from _iter_graph_tensors(graph)


def subgraphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs an attribute holds (the bodies of If, Loop and Scan)."""
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def iter_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Iterate over all nodes, including those of nested subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in subgraphs_of(attribute):
                yield from iter_nodes(inner)


def names_read_by(node: onnx.NodeProto) -> list[str]:
    """Names of the tensors that a node reads: its inputs, and those that its subgraphs capture from outside."""
    names: list[str] = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in subgraphs_of(attribute):
            defined = {v.name for v in inner.input} | {t.name for t in inner.initializer}
            defined |= {t.values.name for t in inner.sparse_initializer}
            defined |= {name for child in inner.node for name in child.output}
            used = chain((v.name for v in inner.output), *(names_read_by(child) for child in inner.node))
            names += [name for name in used if name and name not in defined]
    return names


def describe_node(node: onnx.NodeProto) -> str:
    """Name a node for messages: its operator, and its name or first output."""
    return f"{node.op_type} ({node.name or next(iter(node.output), '?')})"


def domain_of(node: onnx.NodeProto) -> str:
    """The domain of a node's operator; the standard domain is "" in both of its spellings."""
    return "" if node.domain == "ai.onnx" else node.domain


@dataclass(frozen=True)
class Graph:
    """Read-only view of the main graph of `proto`, with `nodes` in topological order.

    `weights` holds the values of initialisers that the message only declares. Nodes are identified by their position in
    `nodes`, tensors by their name.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    nodes: tuple[onnx.NodeProto, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(list_sorted(self.proto.graph)))

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Dense initialisers by name."""
        return {tensor.name: tensor for tensor in self.proto.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """The graph inputs that a caller must feed: those without an initialiser."""
        sparse = {tensor.values.name for tensor in self.proto.graph.sparse_initializer}
        known = self.initializers.keys() | sparse
        return tuple(v for v in self.proto.graph.input if v.name not in known)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return tuple(v.name for v in self.proto.graph.output)

    @cached_property
    def producer(self) -> dict[str, int]:
        """The node that computes each tensor, by the tensor's name."""
        return {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[int]]:
        """The nodes that read each tensor, by the tensor's name."""
        found: dict[str, list[int]] = {}
        for i in range(len(self.nodes)):
            for name in self.reads[i]:
                found.setdefault(name, []).append(i)
        return found

    @cached_property
    def constants(self) -> set[str]:
        """Names of the initialisers and of every tensor that is computed from them alone."""
        known = set(self.initializers) | {t.values.name for t in self.proto.graph.sparse_initializer}
        for i, node in enumerate(self.nodes):
            if all(name in known for name in self.reads[i]):
                known.update(node.output)
        return known

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """The value of an initialiser or of a Constant node; None for anything computed."""
        node = self._producer_of(name)
        while node is not None and node.op_type == "Identity" and node.input:
            name = node.input[0]
            node = self._producer_of(name)
        if name in self.weights:
            return self.weights[name]
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        return _constant_value(node) if node is not None and node.op_type == "Constant" else None

    def _producer_of(self, name: str) -> onnx.NodeProto | None:
        return self.nodes[self.producer[name]] if name in self.producer else None

    @cached_property
    def reads(self) -> tuple[tuple[str, ...], ...]:
        """Names of the tensors that each node reads."""
        return tuple(tuple(dict.fromkeys(names_read_by(node))) for node in self.nodes)

    def descendants_of(self, name: str) -> set[int]:
        """Nodes whose values (not only whose shapes) depend on the tensor `name`, as positions in `nodes`."""
        return self._follow({name}, SHAPE_ONLY)

    def readers_of(self, names: Iterable[str]) -> set[int]:
        """Nodes that depend on the tensors `names`, if only on their shapes, as positions in `nodes`."""
        return self._follow(set(names), frozenset())

    def _follow(self, live: set[str], but: frozenset[str]) -> set[int]:
        found = set()
        for i, node in enumerate(self.nodes):
            if node.op_type not in but and not live.isdisjoint(self.reads[i]):
                found.add(i)
                live.update(output for output in node.output if output)
        return found

    def ancestors_of(self, names: Iterable[str], but: Container[int] = ()) -> set[int]:
        """Nodes on which the tensors `names` depend, as positions in `nodes`; those in `but`, and what is below, are left out."""
        waiting, found = list(names), set[int]()
        while waiting:
            i = self.producer.get(waiting.pop())
            if i is not None and i not in found and i not in but:
                found.add(i)
                waiting += self.reads[i]
        return found

    def sources_of(self, names: Iterable[str], layers: Container[int]) -> set[int]:
        """Those of the nodes `layers` on which the tensors `names` depend with no other of them between."""
        region = self.ancestors_of(names := list(names), but=layers)
        read = chain(names, *(self.reads[i] for i in region))
        return {i for name in read if (i := self.producer.get(name)) is not None and i in layers}

    def is_parametric(self, index: int) -> bool:
        """Whether the node at `index` multiplies computed values with trained weights."""
        node = self.nodes[index]
        weight = PARAMETRIC.get(node.op_type)
        if weight is None or len(node.input) <= weight:
            return False
        operands = (node.input[0], node.input[weight])
        return any(name in self.constants for name in operands)


def _constant_value(node: onnx.NodeProto) -> NDArray[np.generic] | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        if attribute.name in {"value_float", "value_int", "value_floats", "value_ints"}:
            return np.asarray(onnx.helper.get_attribute_value(attribute))
    return None


def find_predecessors(graph: onnx.GraphProto) -> list[set[int]]:
    """The positions of the nodes that each node of a graph reads from."""
    producers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    return [{producers[n] for n in names_read_by(node) if n in producers} for node in graph.node]


def list_sorted(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """List the nodes of a graph in topological order; a sorted graph keeps its order, and nodes of a cycle are left out."""
    return [graph.node[i] for i in find_order(find_predecessors(graph))]
