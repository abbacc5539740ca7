"""An ONNX graph as sets and positions: what depends on the image, what is constant, what is live where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

#: Operators that multiply their input with trained weights, and the index of the weight.
PARAMETRIC: dict[str, int] = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "FusedConv": 1, "FusedGemm": 1, "FusedMatMul": 1,
    "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3,
    "LSTM": 1, "GRU": 1, "RNN": 1,
}  # fmt: skip
#: Operators whose output says how large a tensor is, not what is in it: no gradient flows through.
SHAPE_ONLY = frozenset({"Shape", "Size"})


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every dense tensor of a model: initialisers and attributes, subgraphs and functions included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in chain(attribute.sparse_tensors, [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []):
            yield from (sparse.values, sparse.indices)
        for graph in subgraphs_of(attribute):
            yield from _graph_tensors(graph)


def subgraphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs an attribute holds (the bodies of If, Loop and Scan)."""
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of nested subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in subgraphs_of(attribute):
                yield from all_nodes(inner)


def reads(node: onnx.NodeProto) -> list[str]:
    """Names a node reads: its inputs, and what its subgraphs take from outside."""
    names: list[str] = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in subgraphs_of(attribute):
            made = {v.name for v in inner.input} | {t.name for t in inner.initializer}
            made |= {t.values.name for t in inner.sparse_initializer}
            made |= {name for child in inner.node for name in child.output}
            used = chain((v.name for v in inner.output), *(reads(child) for child in inner.node))
            names += [name for name in used if name and name not in made]
    return names


def label(node: onnx.NodeProto) -> str:
    """How messages name a node: its operator, and its name or first output."""
    return f"{node.op_type} ({node.name or next(iter(node.output), '?')})"


def domain_of(node: onnx.NodeProto) -> str:
    """The operator's domain, with both spellings of the standard one made equal."""
    return "" if node.domain == "ai.onnx" else node.domain


@dataclass(frozen=True)
class Graph:
    """Read-only view of the main graph of `proto`; nodes in topological order.

    `weights` holds the values of initialisers that the message only declares.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    nodes: tuple[onnx.NodeProto, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(_sorted(self.proto.graph)))

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        return {tensor.name: tensor for tensor in self.proto.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """What a caller must feed: graph inputs that have no initialiser."""
        sparse = {tensor.values.name for tensor in self.proto.graph.sparse_initializer}
        known = self.initializers.keys() | sparse
        return tuple(v for v in self.proto.graph.input if v.name not in known)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.proto.graph.output)

    @cached_property
    def producer(self) -> dict[str, int]:
        return {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(reads(node)):
                found.setdefault(name, []).append(i)
        return found

    @cached_property
    def constants(self) -> set[str]:
        """Initialisers and every tensor that is made from them alone."""
        known = set(self.initializers) | {t.values.name for t in self.proto.graph.sparse_initializer}
        for node in self.nodes:
            if all(name in known for name in reads(node)):
                known.update(node.output)
        return known

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """The value of an initialiser or of a Constant node; None for anything computed."""
        node = self._maker(name)
        while node is not None and node.op_type == "Identity" and node.input:
            name = node.input[0]
            node = self._maker(name)
        if name in self.weights:
            return self.weights[name]
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        return _constant_value(node) if node is not None and node.op_type == "Constant" else None

    def _maker(self, name: str) -> onnx.NodeProto | None:
        return self.nodes[self.producer[name]] if name in self.producer else None

    def depends_on(self, name: str) -> set[int]:
        """Nodes whose values (not only whose shapes) depend on the tensor `name`."""
        live, found = {name}, set()
        for i, node in enumerate(self.nodes):
            if node.op_type not in SHAPE_ONLY and not live.isdisjoint(reads(node)):
                found.add(i)
                live.update(output for output in node.output if output)
        return found

    def leading_to(self, names: Iterable[str]) -> set[int]:
        """Nodes on which the tensors `names` depend."""
        wanted, found = set(names), set()
        for i in range(len(self.nodes) - 1, -1, -1):
            if not wanted.isdisjoint(self.nodes[i].output):
                found.add(i)
                wanted.update(reads(self.nodes[i]))
        return found

    def is_parametric(self, index: int) -> bool:
        """True where a node multiplies computed values with trained weights."""
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


def defect(graph: onnx.GraphProto) -> str | None:
    """What keeps a graph from meaning anything, in words: names made twice or never, or a cycle. None for a sound one."""
    stored = [t.name for t in graph.initializer] + [t.values.name for t in graph.sparse_initializer]
    known = set(stored)
    fed = [v.name for v in graph.input if v.name not in known]
    made = [name for node in graph.node for name in node.output if name]
    counts = Counter(chain(fed, stored, made))
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        return f"the tensor {twice!r} is defined twice"
    wanted = chain((name for node in graph.node for name in reads(node)), (v.name for v in graph.output))
    missing = next((name for name in wanted if name not in counts), None)
    if missing is not None:
        return f"the tensor {missing!r} is used but never made"
    silent = next((node for node in graph.node if not any(node.output)), None)
    if silent is not None:
        return f"its node {label(silent)} makes nothing"
    return "its nodes form a cycle" if len(_sorted(graph)) < len(graph.node) else None


def _sorted(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Kahn's order, stable: a graph that is sorted already comes back as it is. A cycle's nodes are left out."""
    made_by = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    waits = [{made_by[n] for n in reads(node) if n in made_by} for node in graph.node]
    if all(max(before, default=-1) < i for i, before in enumerate(waits)):
        return list(graph.node)
    return _kahn(graph, waits)


def _kahn(graph: onnx.GraphProto, waits: list[set[int]]) -> list[onnx.NodeProto]:
    import heapq

    feeds: dict[int, list[int]] = {}
    for i, before in enumerate(waits):
        for j in before:
            feeds.setdefault(j, []).append(i)
    left = [len(before) for before in waits]
    ready = [i for i, count in enumerate(left) if count == 0]
    order: list[onnx.NodeProto] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(graph.node[i])
        for j in feeds.get(i, ()):
            left[j] -= 1
            if left[j] == 0:
                heapq.heappush(ready, j)
    return order
