"""Outputs in the tail of a Sigmoid, compared by what they were computed from.

Runtimes round such small probabilities absolutely (ONNX Runtime's Sigmoid is 0 at -17), so that two right files differ by all of
their value. A fault in the network shows before the function as anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.graph import Graph
from onnxspace.model.network import Network, separate_weights
from onnxspace_converters.loaded_network import Array

#: Largest absolute difference of a probability that rounding explains.
ABSOLUTE = 5e-7
_LEAST = 1e-35  # below, single precision has no digits left for a logarithm
_ORDERED = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def find_source(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The Sigmoid of whose values a tensor consists, in the same order; None where there is none."""
    while name in graph.producer:
        node = graph.nodes[graph.producer[name]]
        if node.op_type == "Sigmoid":
            return node
        if node.op_type not in _ORDERED:
            return None
        name = node.input[0]
    return None


def agrees_before(
    model: onnx.ModelProto, feed: Array, found: Sequence[Array], expected: Sequence[Array], tolerance: float
) -> bool:
    """Whether all outputs `found` of a file equal those `expected` of the framework, if tails are compared by their logarithms.

    `feed` is the batch of images, `tolerance` the largest relative difference.
    """
    network = separate_weights(model)
    pairs = zip(network.graph.outputs, found, expected, strict=True)
    return all(_agrees(network, feed, name, ours, theirs, tolerance) for name, ours, theirs in pairs)


def _agrees(network: Network, feed: Array, name: str, ours: Array, theirs: Array, tolerance: float) -> bool:
    if ours.shape != theirs.shape or theirs.dtype.kind != "f":
        return bool(np.array_equal(ours, theirs))
    gap, size = np.abs(ours - theirs).max(initial=0), np.abs(theirs).max(initial=0)
    if gap <= tolerance * size:
        return True
    source = find_source(network.graph, name)
    if source is None or not gap <= ABSOLUTE:
        return False
    runner = runtime.Runner(network.with_outputs([source.input[0]]))
    before = runner({runner.input: feed})[0].astype(np.float64)
    return _compare_logarithms(-np.logaddexp(0, -before), theirs.reshape(before.shape), tolerance)


def _compare_logarithms(ours: NDArray[np.float64], theirs: Array, tolerance: float) -> bool:
    """Compare logarithms of probabilities with probabilities, those too small for a logarithm apart."""
    given = theirs.astype(np.float64)
    small = given < _LEAST
    with np.errstate(divide="ignore"):
        logarithms = np.log(given)
    gap = np.abs(ours - logarithms)[~small].max(initial=0)
    return bool(gap <= tolerance * np.abs(logarithms[~small]).max(initial=1) and (ours[small] < np.log(_LEAST) + 1).all())
