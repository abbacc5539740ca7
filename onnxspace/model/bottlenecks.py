"""Bottlenecks: tensors that every path from the image to an output passes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from onnxspace.model.graph import Graph


def find_bottlenecks(graph: Graph, nodes: Sequence[int], image: str, outputs: Collection[str]) -> tuple[str, ...]:
    """Find the tensors that every path from the tensor `image` to one of `outputs` passes through, in topological order.

    `nodes` are the positions of the nodes on such paths, in order. Every one of them is an ancestor or a descendant of a bottleneck, so
    right after it is computed it is the only tensor that is still needed.
    """
    last = _find_last_uses(graph, nodes, image, outputs)
    due = Counter(last.values())
    needed, found, passed = int(last[image] >= 0), [], -1
    for i in nodes:
        needed -= sum(due[end] for end in range(passed + 1, i + 1))
        passed = i
        later = [name for name in graph.nodes[i].output if name and last[name] > i]
        needed += len(later)
        if needed == 1 and later:
            found.append(later[-1])
    return tuple(found)


def _find_last_uses(graph: Graph, nodes: Sequence[int], image: str, outputs: Collection[str]) -> dict[str, int]:
    """The last of `nodes` that reads each tensor (−1: none), or the number of the graph's nodes for an output."""
    last = {name: -1 for i in nodes for name in graph.nodes[i].output if name} | {image: -1}
    for i in nodes:
        last |= {name: i for name in graph.reads[i] if name in last}
    return last | {name: len(graph.nodes) for name in outputs if name in last}
