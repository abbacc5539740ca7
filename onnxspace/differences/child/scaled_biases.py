"""Biases in nodes of their own that were multiplied by the factors of the layers before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.judgement import Match
from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.weight_records import WeightChange, measure_gap

#: Relative difference up to which a bias is the old one times the factors.
_FITS = 2e-3


def mark_scaled_biases(match: Match) -> Match:
    """The match in which a bias that follows a scaled layer is `scaled` where its factors are those of the layer."""
    found = {a: change for a in match.changes if (change := _find_scaled(match, a)) is not None}
    return replace(match, changes={**match.changes, **found})


def _find_scaled(match: Match, a: int) -> WeightChange | None:
    graph = match.old.side.graph
    change, node = match.changes[a], graph.nodes[a]
    if node.op_type != "Add" or change.kind not in ("trained", "replaced", "pruned"):
        return None
    sources = [match.old.side.graph.producer.get(match.old.side.roots[name]) for name in match.old.side.reads_of(a)]
    source = next((one for one in sources if one is not None and one in match.pairs and one in match.old.layers), None)
    if source is None or match.changes.get(source, change).kind != "scaled":
        return None
    factors, old, new = _measure_factors(match, source), *(layer.rows.reshape(-1) for layer in _layers_of(match, a))
    if not len(factors) == len(old) == len(new) or measure_gap(new, old * factors) > _FITS:
        return None
    return replace(change, kind="scaled", factor=(float(factors.min()), float(factors.max())))


def _measure_factors(match: Match, a: int) -> NDArray[np.float64]:
    """The factor of each output of a layer."""
    old, new = (layer.rows.astype(np.float64) for layer in _layers_of(match, a))
    if old.shape != new.shape:
        return np.zeros(0)
    return np.asarray((old * new).sum(1) / np.maximum((old * old).sum(1), 1e-30))


def _layers_of(match: Match, a: int) -> tuple[LayerWeights, LayerWeights]:
    return match.old.layers[a], match.new.layers[match.pairs[a]]
