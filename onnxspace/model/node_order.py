"""Nodes in topological order, in graphs and their subgraphs, and what makes a graph invalid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import onnx

from onnxspace.model.graph import describe_node, find_predecessors, list_sorted, names_read_by, subgraphs_of
from onnxspace.model.topological_order import is_in_order


def find_defect(graph: onnx.GraphProto) -> str | None:
    """Find what makes a graph invalid, in words: tensors defined twice or never, or a cycle. None for a valid graph."""
    stored = [t.name for t in graph.initializer] + [t.values.name for t in graph.sparse_initializer]
    known = set(stored)
    fed = [v.name for v in graph.input if v.name not in known]
    defined = [name for node in graph.node for name in node.output if name]
    counts = Counter(chain(fed, stored, defined))
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        return f"the tensor {twice!r} is defined twice"
    wanted = chain((name for node in graph.node for name in names_read_by(node)), (v.name for v in graph.output))
    missing = next((name for name in wanted if name not in counts), None)
    if missing is not None:
        return f"the tensor {missing!r} is used but never defined"
    silent = next((node for node in graph.node if not any(node.output)), None)
    if silent is not None:
        return f"its node {describe_node(silent)} has no output"
    return "its nodes form a cycle" if len(list_sorted(graph)) < len(graph.node) else None


def sort_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with its nodes, and those of its subgraphs, in topological order; `model` itself if they are.

    Shape inference depends on their order, ONNX Runtime does not. Nodes that form a cycle keep their order.
    """
    if all(_is_sorted(graph) for graph in _iter_graphs(model.graph)):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in reversed(list(_iter_graphs(copy.graph))):  # inner graphs first, because nodes are copied with theirs
        _sort_in_place(graph)
    return copy


def _iter_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in subgraphs_of(attribute):
                yield from _iter_graphs(inner)


def _sort_in_place(graph: onnx.GraphProto) -> None:
    order = list_sorted(graph)
    if len(order) == len(graph.node):
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _is_sorted(graph: onnx.GraphProto) -> bool:
    return is_in_order(find_predecessors(graph))
