"""A layer that the other network has as two, whose product is its weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxspace.differences.child.alignment import Described, kind_of
from onnxspace.differences.child.extension import list_readers
from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.weight_records import WeightChange, measure_gap

#: Relative difference up to which a product is that of the layer, if with a lower rank.
_ALIKE = 0.9
_KINDS = frozenset({"MatMul", "Conv"})
#: A side, and nodes of it.
Part = tuple[Described, list[int]]


def compare_product(old: Part, new: Part) -> WeightChange | None:
    """The change from one layer to two, or back, where those of one side multiply to that of the other; None elsewhere."""
    layers = [_list_layers(*part) for part in (old, new)]
    if sorted(map(len, layers)) != [1, 2]:
        return None
    sides = [_multiply(part[0], found) for part, found in zip((old, new), layers, strict=True)]
    if sides[0] is None or sides[1] is None or sides[0].rows.shape != sides[1].rows.shape:
        return None
    first, second = (side.rows.astype(np.float64) for side in sides if side is not None)
    if (gap := measure_gap(first, second)) > _ALIKE:
        return None
    rank = min(
        len(part[0].layers[i].rows) for part, found in zip((old, new), layers, strict=True) if len(found) == 2 for i in found
    )
    return WeightChange("factorised", difference=gap, types=(sides[0].stored, sides[1].stored), rank=rank)


def _list_layers(one: Described, nodes: list[int]) -> list[int]:
    return [i for i in sorted(nodes) if i in one.layers and kind_of(one.side.graph.nodes[i].op_type) in _KINDS]


def _multiply(one: Described, nodes: list[int]) -> LayerWeights | None:
    """The weights of a layer, or of two of which the second reads the first."""
    layers = [one.layers[i] for i in nodes]
    if len(layers) == 1:
        return replace(layers[0], rows=layers[0].rows.reshape(len(layers[0].rows), -1))
    first, second = (layer.rows.reshape(len(layer.rows), -1) for layer in layers)
    if list_readers(one, nodes[0]) != [nodes[1]] or second.shape[1] != len(first):
        return None
    return replace(layers[1], rows=second @ first)
