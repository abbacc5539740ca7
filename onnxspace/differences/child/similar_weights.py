"""Layers of two networks whose weights are alike: rounded, pruned or trained further."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layer_weights import LayerWeights

_SAMPLED = 512
#: Distance of unit vectors of weights up to which layers are alike, and how much further all others must be.
_ALIKE, _CLEARER = 0.8, 1.25


def find_similar(old: Mapping[int, LayerWeights], new: Mapping[int, LayerWeights]) -> dict[int, int]:
    """The old layer that each new layer is alike, where each is the nearest of the other's network, and clearly so."""
    groups: dict[tuple[int, ...], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for place, layers in enumerate((old, new)):
        for i, layer in layers.items():
            if layer.is_uniform:
                continue
            groups[layer.rows.shape][place].append(i)
    found: dict[int, int] = {}
    for first, second in groups.values():
        if first and second:
            rows = [np.stack([_sample(layers[i]) for i in nodes]) for layers, nodes in ((old, first), (new, second))]
            found |= {second[b]: first[a] for a, b in _match_mutually(*rows)}
    return found


def _sample(layer: LayerWeights) -> NDArray[np.float64]:
    """Evenly spaced weights, as a vector of unit length."""
    flat = layer.rows.reshape(-1)
    values = np.nan_to_num(flat[np.linspace(0, flat.size - 1, min(_SAMPLED, flat.size)).astype(int)].astype(np.float64))
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-30))


def _match_mutually(old: NDArray[Any], new: NDArray[Any]) -> list[tuple[int, int]]:
    from scipy.spatial import cKDTree

    back = cKDTree(new).query(old)[1]
    gaps, near = cKDTree(old).query(new, 2)
    return [
        (int(near[b, 0]), b)
        for b in range(len(new))
        if gaps[b, 0] <= _ALIKE and gaps[b, 1] > _CLEARER * gaps[b, 0] and back[near[b, 0]] == b
    ]
