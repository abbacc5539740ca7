"""How far rounding to eight bits can move what a node computes, from the scales in the graph, the node's weights and its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt

import numpy as np

from onnxspace.differences.child.alignment import Described
from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.quantised import Scale
from onnxspace.differences.child.signatures import Signature
from onnxspace.model.constant_weights import MOST_STEPS, evaluate

#: How much more than the standard deviation of rounding an error may be, for layers and for others, whose slope is not known.
_LAYERS, _OTHERS = 3.0, 8.0
#: Smallest and largest bound.
_LEAST, MOST = 0.01, 0.2
#: Operators whose integers are scaled by the range of their values.
_DYNAMIC = frozenset({"DynamicQuantizeLinear"})


def bound_rounding(old: Signature, new: Described, nodes: list[int], scales: Mapping[str, Scale]) -> float:
    """The relative error that rounding explains of a group of `nodes` of `new`, which compute what has the signature `old`.

    Steps between integers are uniform errors of their weights, inputs and output, which add up over the weights of an output.
    """
    length = max(float(np.mean(old.lengths)), 1e-30)
    steps = [(root, step) for i in nodes for root, step in _list_inputs(new, i, scales)]
    layer = next((new.layers[i] for i in reversed(nodes) if i in new.layers), None)
    if layer is None or not layer.step:
        parts = [step / max(float(np.mean(root.lengths)), 1e-30) for root, step in steps]
        return _limit(
            _OTHERS * sqrt((sum(part * part for part in parts) + (_find_step(new, nodes, scales) / length) ** 2) / 12)
        )
    return _limit(_LAYERS * sqrt((_add_layer(layer, steps) + _find_step(new, nodes, scales) ** 2) / 12) / length)


def share_step(old: Signature, one: Described, nodes: list[int], scales: Mapping[str, Scale]) -> float:
    """Half of the step between two outputs of the last of `nodes`, relative to the values of `old`: rounding moves none of them further."""
    return 0.51 * _find_step(one, nodes, scales) / max(float(np.mean(old.lengths)), 1e-30)


def _limit(bound: float) -> float:
    return min(MOST, max(_LEAST, bound))


def _add_layer(layer: LayerWeights, steps: list[tuple[Signature, float]]) -> float:
    """Twelve times the variance of a layer's outputs."""
    rows = layer.rows.reshape(len(layer.rows), -1).astype(np.float64)
    squares = max((float(np.mean(root.lengths**2)) for root, _ in steps), default=1.0)
    inputs = max((step for _, step in steps), default=0.0)
    return float(rows.shape[1] * squares * layer.step**2 + (rows * rows).sum() / len(rows) * inputs**2)


def _find_step(one: Described, nodes: list[int], scales: Mapping[str, Scale]) -> float:
    """The step between two outputs of the last node, 0 where these are no integers."""
    scale = scales.get(one.output_of(nodes[-1]))
    return 0.0 if scale is None else scale.step


def _list_inputs(one: Described, index: int, scales: Mapping[str, Scale]) -> Iterator[tuple[Signature, float]]:
    """The signature and the largest step of what a node reads, wherever it was moved and rounded before."""
    for name in one.side.reads_of(index):
        root = one.signatures.get(one.side.roots[name])
        if root is not None:
            yield root, _find_largest(one, name, root, scales)


def _find_largest(one: Described, name: str, root: Signature, scales: Mapping[str, Scale]) -> float:
    """The largest step of the nodes through which a tensor was moved."""
    graph, found = one.side.graph, 0.0
    for _ in range(MOST_STEPS):
        if name in scales:
            found = max(found, scales[name].step)
        place = graph.producer.get(name)
        if place is None:
            break
        node = graph.nodes[place]
        if node.op_type in _DYNAMIC:
            found = max(found, (max(root.high, 0.0) - min(root.low, 0.0)) / 255)
        if (
            node.op_type == "DequantizeLinear"
            and (scale := evaluate(graph, node.input[1], MOST_STEPS)) is not None
            and scale.size
        ):
            found = max(found, float(np.abs(scale.astype(np.float64)).max()))
        if not one.side.is_mover(place) or name == one.side.roots.get(name):
            break
        name = node.input[0]
    return found
