"""Layers behind the answers of a network: what lies below them is no representation of the image, but the answers themselves.

The expectation over bins of a box is a convolution with the weights 0, 1, 2, …; the fusion of side outputs that are answers
already has a weight for each; boxes of all scales are converted by a small matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.graph import PARAMETRIC, Graph
from onnxspace.model.shapes import Shape, count_elements

#: Layers behind the answers do less than this share of a network's work.
_LITTLE = 0.01
#: Numbers of weights among which a sequence with a constant step is looked for, and merges that are looked at.
_RAMP, _MOST_MERGES = range(4, 257), 64
_FLATTENING = frozenset({"Reshape", "Flatten"})
_RESIZING = frozenset({
    "Resize", "Upsample", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum",
})  # fmt: skip
Shapes = Mapping[str, tuple[Shape, int]]


def is_ramp(graph: Graph, index: int) -> bool:
    """Whether the weights of a node form a sequence with a constant step, such as 0, 1, 2, …, which no training gives."""
    node = graph.nodes[index]
    at = PARAMETRIC[node.op_type]
    name = node.input[at] if node.input[at] in graph.constants else node.input[0]
    if name in graph.initializers and math.prod(graph.initializers[name].dims) not in _RAMP:
        return False
    values = graph.constant(name)
    return values is not None and values.size in _RAMP and _has_constant_step(values)


def _has_constant_step(values: NDArray[Any]) -> bool:
    steps = np.diff(values.astype(np.float64).ravel())
    return bool(steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-2, atol=0))


def find_behind_answers(graph: Graph, shapes: Shapes, work: Mapping[int, int], trained: list[int]) -> set[int]:
    """Find those of the `trained` nodes that lie behind a merge of answers and do little of the work, as `multiply_adds` counts it."""
    little, layers = _LITTLE * sum(work[i] for i in trained), frozenset(trained)
    for merge in islice(_iter_merges(graph), _MOST_MERGES):
        above = graph.readers_of(merge.output) & layers
        if sum(work[i] for i in above) > little:
            return set()  # merges further down have more above them
        if above and (_joins_scales(graph, shapes, layers, merge) or _joins_outputs(graph, shapes, merge)):
            return above
    return set()


def _iter_merges(graph: Graph) -> Iterator[onnx.NodeProto]:
    """Nodes that join several computed tensors, from the outputs to the image."""
    for node in reversed(graph.nodes):
        if node.op_type == "Concat" and sum(name not in graph.constants for name in node.input) > 1:
            yield node


def _joins_outputs(graph: Graph, shapes: Shapes, merge: onnx.NodeProto) -> bool:
    """Whether every part has as many values as an output of the graph."""
    answers = {_count(shapes, name) for name in graph.outputs} - {None}
    return all(_count(shapes, name) in answers for name in merge.input)


def _joins_scales(graph: Graph, shapes: Shapes, layers: frozenset[int], merge: onnx.NodeProto) -> bool:
    """Whether the parts are feature maps of several sizes, one each, that were made flat and not resized."""
    sizes: set[Shape] = set()
    for name in merge.input:
        operators = {graph.nodes[i].op_type for i in graph.ancestors_of([name], but=layers)}
        own = {_positions(shapes, graph.nodes[i]) for i in graph.sources_of([name], layers)}
        if len(own) != 1 or None in own or operators & _RESIZING or not operators & _FLATTENING:
            return False
        sizes |= {size for size in own if size is not None}
    return len(sizes) > 1


def _positions(shapes: Shapes, node: onnx.NodeProto) -> Shape | None:
    """The size of the feature map that a convolution computes; None for other layers."""
    known = shapes.get(node.output[0])
    return known[0][2:] or None if known is not None and "Conv" in node.op_type and None not in known[0] else None


def _count(shapes: Shapes, name: str) -> int | None:
    return count_elements(shapes[name][0]) if name in shapes else None
