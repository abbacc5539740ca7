"""Edits of ONNX graphs that several exporters need."""

from __future__ import annotations

import onnx


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes and stored values that no output depends on."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed |= {name for inner in _nested_nodes(node) for name in inner.input}
    stored = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:]
    graph.node.extend(kept[::-1])
    del graph.initializer[:]
    graph.initializer.extend(stored)


def _nested_nodes(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A node and all nodes of its subgraphs."""
    bodies = [graph for item in node.attribute for graph in (item.g, *item.graphs)]
    return [node, *(each for graph in bodies for inner in graph.node for each in _nested_nodes(inner))]
