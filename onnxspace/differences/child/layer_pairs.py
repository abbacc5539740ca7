"""The weights of corresponding nodes compared, batch normalisations that were folded included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onnxspace.differences.child.alignment import Described, kind_of
from onnxspace.differences.child.batch_norms import compare_folded, fold_norm
from onnxspace.differences.child.extension import list_readers
from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.low_rank import compare_product
from onnxspace.differences.child.weight_changes import compare_weights
from onnxspace.differences.child.weight_records import WeightChange

Absorbed = tuple[Mapping[int, list[int]], Mapping[int, list[int]]]
_NORM = "BatchNormalization"
#: Layers whose weights are matrices.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "MatMul"})
#: Kinds of weights that are the old ones, up to rounding.
_ROUNDED = ("equal", "requantised")


def adopt_norms(old: Described, new: Described, pairs: Mapping[int, int]) -> dict[int, int]:
    """Pair the batch normalisation behind an old layer with the new layer where that has it folded in, rightly or wrongly."""
    found = dict(pairs)
    for a, b in pairs.items():
        readers = list_readers(old, a) if a in old.layers and b in new.layers else []
        if len(readers) != 1 or readers[0] in found or old.side.graph.nodes[readers[0]].op_type != _NORM:
            continue
        fold = compare_folded(old.side.graph, old.side.graph.nodes[readers[0]], old.layers[a], new.layers[b])
        if fold is not None and (fold.right or (fold.cause and fold.cause != "the weights were not scaled")):
            del found[a]
            found[readers[0]] = b
    return dict(sorted(found.items()))


def compare_layers(old: Described, new: Described, pairs: Mapping[int, int], absorbed: Absorbed) -> dict[int, WeightChange]:
    """What became of the weights of each pair, by its old node; pairs without weights are left out."""
    found = {a: _compare(old, new, (a, b), absorbed) for a, b in pairs.items()}
    return {a: change for a, change in found.items() if change is not None}


def _compare(old: Described, new: Described, pair: tuple[int, int], absorbed: Absorbed) -> WeightChange | None:
    mine, theirs = ([*absorbed[k].get(pair[k], []), pair[k]] for k in (0, 1))
    if (product := compare_product((old, mine), (new, theirs))) is not None:
        return product
    first, second = _find_partners(old, mine, new, theirs)
    if first is None or second is None:
        return None
    if _are_regrouped(old, new, (mine, theirs), (first, second), pair):
        return WeightChange("regrouped", types=(old.layers[first].stored, new.layers[second].stored))
    norms = [_find_norm(one, nodes, at) for one, nodes, at in ((old, mine, first), (new, theirs, second))]
    if (norms[0] is None) == (norms[1] is None):
        return compare_weights(old.layers[first], new.layers[second])
    if norms[0] is None:
        change = compare_weights(old.layers[first], _fold(new, norms[1], new.layers[second]))
        return replace(change, kind="unfolded") if change.kind in _ROUNDED else change
    return _compare_folded(old, norms[0], old.layers[first], new.layers[second])


def _are_regrouped(
    old: Described, new: Described, nodes: tuple[list[int], list[int]], layers: tuple[int, int], pair: tuple[int, int]
) -> bool:
    """Whether either network has several layers where the other has one, or another node stands for a layer, and weights have other sizes."""
    if old.layers[layers[0]].rows.shape == new.layers[layers[1]].rows.shape:
        return False
    counts = [sum(_is_weighted(one, i) for i in own) for one, own in zip((old, new), nodes, strict=True)]
    return counts[0] != counts[1] or layers != pair


def _is_weighted(one: Described, index: int) -> bool:
    return index in one.layers and kind_of(one.side.graph.nodes[index].op_type) in _WEIGHTED


def _compare_folded(old: Described, norm: int, before: LayerWeights, after: LayerWeights) -> WeightChange:
    """What became of a layer's weights that a batch normalisation was folded into."""
    change = compare_weights(_fold(old, norm, before), after)
    fold = compare_folded(old.side.graph, old.side.graph.nodes[norm], before, after)
    if change.kind in _ROUNDED or (fold is not None and fold.right):
        return replace(change, kind="folded")
    if fold is None or not (fold.cause or change.kind in ("scaled", "bias")):
        return change
    return replace(change, kind="folded_wrongly", cause=fold.cause, factor=fold.factor, bias=fold.bias)


def _fold(one: Described, norm: int | None, layer: LayerWeights) -> LayerWeights:
    """The weights of a layer with the batch normalisation behind it."""
    return layer if norm is None else fold_norm(one.side.graph, one.side.graph.nodes[norm], layer)


def _find_partners(old: Described, mine: list[int], new: Described, theirs: list[int]) -> tuple[int | None, int | None]:
    """The layers of one kind on both sides, the last ones where there are several."""
    for a in reversed(mine):
        for b in reversed(theirs):
            kinds = [kind_of(one.side.graph.nodes[i].op_type) for one, i in ((old, a), (new, b))]
            if a in old.layers and b in new.layers and kinds[0] == kinds[1]:
                return a, b
    return None, None


def _find_norm(one: Described, nodes: list[int], at: int) -> int | None:
    """The batch normalisation behind a layer, where a group has a single one."""
    norms = [i for i in nodes if one.side.graph.nodes[i].op_type == _NORM and i != at]
    return norms[0] if len(norms) == 1 else None
