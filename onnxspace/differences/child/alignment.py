"""Which node of one network corresponds to which of the other: by values, then weights, names, and positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.segments import SegmentedRun
from onnxspace.differences.child.sequences import Keys, Pair, align_between
from onnxspace.differences.child.sides import Side
from onnxspace.differences.child.signatures import Signature, measure_distance
from onnxspace.differences.child.similar_weights import find_similar

#: Distance of signatures up to which two tensors may hold the same values.
ALIKE = 2e-3
_NEIGHBOURS = 12
#: The first levels of keys, by which nodes correspond in any order.
_CERTAIN = 5
Signatures = Mapping[str, Signature]


@dataclass(frozen=True)
class Described:
    """A side, its network loaded to be run, the signatures of its tensors, and the weights of its layers by node."""

    side: Side
    run: SegmentedRun
    signatures: Signatures
    layers: Mapping[int, LayerWeights] = field(default_factory=dict)

    def output_of(self, index: int) -> str:
        """The tensor that stands for a node."""
        return str(next((name for name in self.side.graph.nodes[index].output if name), ""))

    def signature_of(self, index: int) -> Signature | None:
        return self.signatures.get(self.output_of(index))


def align(old: Described, new: Described) -> dict[int, int]:
    """The node of `new` that corresponds to each node of `old`; nodes that only move values are not among them."""
    pairs: list[Pair] = []
    loose: dict[int, int] = {}
    for level, (first, second) in enumerate(_list_levels(old, new)):
        taken = set(loose.values())
        mine = [None if place in loose else key for place, key in enumerate(first)]
        theirs = [None if place in taken else key for place, key in enumerate(second)]
        pairs = align_between(pairs, mine, theirs)
        if level < _CERTAIN:
            loose |= _find_unique(mine, theirs, pairs)
    return {old.side.core[a]: new.side.core[b] for a, b in sorted([*pairs, *loose.items()])}


def _list_levels(old: Described, new: Described) -> Iterator[tuple[Keys, Keys]]:
    """Keys of the nodes of both networks: values and operator, values, weights, name, operator and shape, shape."""
    ids = identify_values(old, new)
    both = (old, new)
    yield _with_operator(old, ids[0]), _with_operator(new, ids[1])
    yield ids
    yield _for_both(both, _weight_key)
    partners = find_similar(old.layers, new.layers)
    yield [i if i in partners.values() else None for i in old.side.core], [partners.get(i) for i in new.side.core]
    yield _for_both(both, lambda one, i: (_name_of(one, i), kind_of(_operator_of(one, i))))
    yield _for_both(both, _shape_key)
    yield _for_both(both, lambda one, i: _shape_key(one, i)[1])


def _for_both(both: tuple[Described, Described], key: Callable[[Described, int], Hashable | None]) -> tuple[Keys, Keys]:
    return [key(both[0], i) for i in both[0].side.core], [key(both[1], i) for i in both[1].side.core]


def _find_unique(old: Keys, new: Keys, pairs: Sequence[Pair]) -> dict[int, int]:
    """Pairs whose keys are unique among what is left, in any order: branches may be written in another one."""
    used = {a for a, _ in pairs}, {b for _, b in pairs}
    left = [(i, key) for i, key in enumerate(old) if key is not None and i not in used[0]]
    right = [(k, key) for k, key in enumerate(new) if key is not None and k not in used[1]]
    counts = Counter(key for _, key in left), Counter(key for _, key in right)
    places = {key: k for k, key in right}
    return {i: places[key] for i, key in left if counts[0][key] == counts[1][key] == 1}


def _with_operator(one: Described, ids: Sequence[int | None]) -> list[Hashable | None]:
    return [None if key is None else (key, _operator_of(one, i)) for i, key in zip(one.side.core, ids, strict=True)]


def _operator_of(one: Described, index: int) -> str:
    return str(one.side.graph.nodes[index].op_type)


def _weight_key(one: Described, index: int) -> Hashable | None:
    layer = one.layers.get(index)
    return None if layer is None or layer.is_uniform else layer.digest


def _name_of(one: Described, index: int) -> str:
    node = one.side.graph.nodes[index]
    return (node.name or one.output_of(index)).removesuffix(_QUANTISED)


#: What quantisation adds to the names of nodes.
_QUANTISED = "_quant"
#: Operators that compute the same kind of layer.
_KINDS = {
    "FusedConv": "Conv", "NhwcFusedConv": "Conv", "QLinearConv": "Conv", "ConvInteger": "Conv", "Gemm": "MatMul", "FusedGemm": "MatMul",
    "FusedMatMul": "MatMul", "QGemm": "MatMul", "QLinearMatMul": "MatMul", "MatMulInteger": "MatMul", "MatMulNBits": "MatMul",
    "QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearGlobalAveragePool": "GlobalAveragePool", "QLinearConcat": "Concat",
    "Clip": "Relu", "QuantizeLinear": "Relu",
}  # fmt: skip


def kind_of(operator: str) -> str:
    """The operator that stands for all that compute the same kind of layer."""
    return _KINDS.get(operator, operator)


def _shape_key(one: Described, index: int) -> tuple[str, tuple[int, ...] | None]:
    signature = one.signature_of(index)
    return kind_of(_operator_of(one, index)), None if signature is None else signature.sides


def identify_values(old: Described, new: Described) -> tuple[list[int | None], list[int | None]]:
    """A number for the values of each node's output, the same for those that are alike; None where no other output is like it."""
    both = [(one, i, one.signature_of(i)) for one in (old, new) for i in one.side.core]
    found: list[int | None] = [None] * len(both)
    groups: dict[int, list[int]] = {}
    for place, (_, _, signature) in enumerate(both):
        if signature is not None and not signature.is_blank:
            groups.setdefault(signature.size, []).append(place)
    for places in groups.values():
        signatures = [both[place][2] for place in places]
        labels = label_alike([one for one in signatures if one is not None])
        for place, label in zip(places, labels, strict=True):
            found[place] = places[label]
    count = len(old.side.core)
    return found[:count], found[count:]


def label_alike(signatures: Sequence[Signature]) -> list[int]:
    """The first signature that each is alike; equal ones are searched for once, because a tree of equal points is slow."""
    keys = [one.quantiles.tobytes() + one.lengths.tobytes() for one in signatures]
    firsts = {key: place for place, key in reversed([*enumerate(keys)])}
    places = sorted(firsts.values())
    labels = dict(zip(places, _cluster([signatures[place] for place in places]), strict=True))
    return [places[labels[firsts[key]]] for key in keys]


def _cluster(signatures: Sequence[Signature]) -> list[int]:
    """The first signature that each is alike, directly or by way of others."""
    from scipy.spatial import cKDTree

    rows = np.stack([_to_row(one) for one in signatures])
    gaps, near = cKDTree(rows).query(rows, min(_NEIGHBOURS, len(rows)), distance_upper_bound=4 * ALIKE)
    parents = list(range(len(rows)))
    for i, (row, places) in enumerate(zip(np.reshape(gaps, (len(rows), -1)), np.reshape(near, (len(rows), -1)), strict=True)):
        for k in places[np.isfinite(row)]:
            if measure_distance(signatures[i], signatures[k]) <= ALIKE:
                _join(parents, i, int(k))
    return [_find_parent(parents, i) for i in range(len(rows))]


def _to_row(signature: Signature) -> NDArray[np.float64]:
    """Quantiles of the first image as shares of their length, and the logarithm of the length."""
    length = max(float(signature.lengths[0]), 1e-30)
    return np.append(signature.quantiles[0] / length / np.sqrt(signature.quantiles.shape[1]), np.log(length))


def _find_parent(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


def _join(parents: list[int], i: int, k: int) -> None:
    first, second = sorted((_find_parent(parents, i), _find_parent(parents, k)))
    parents[second] = first
