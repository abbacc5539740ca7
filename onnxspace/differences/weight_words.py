"""Sentences on what became of weights: precision, pruning, training, order, scale, batch normalisations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from onnxspace.differences.findings import format_percent
from onnxspace.differences.result import MOST_NAME, Change, DiffModel, NodeGroup
from onnxspace.storage.printable import shorten
from onnxspace.storage.short_text import count

_NAMED = 3
_PRECISIONS = {
    "float16": "half precision",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "uint8": "int8",
    "float32": "single precision",
}
_AS_FOLDED = "as where a batch normalisation was folded wrongly"
_SMALL = frozenset({"Add", "Mul", "Sub", "Div"})


def describe_weights(old: DiffModel, new: DiffModel, groups: Sequence[NodeGroup], *, classes: bool = False) -> Iterator[Change]:
    """What became of the weights of all groups, a sentence for each kind; `classes` tells that outputs of the network are permuted."""
    layers = [group for group in groups if group.weights is not None]
    kinds: dict[str, list[NodeGroup]] = {}
    for group in layers:
        kinds.setdefault(str(_weights_of(group)["kind"]), []).append(group)
    yield from _describe_precision(old, new, layers)
    yield from _describe_pruned(kinds.get("pruned", []), layers)
    yield from _describe_trained(kinds.get("trained", []), layers)
    yield from _describe_bias(kinds.get("bias", []))
    yield from _describe_permuted(kinds.get("permuted", []), classes=classes)
    yield from _describe_scaled(kinds.get("scaled", []))
    yield from _describe_folded(kinds.get("folded_wrongly", []))
    yield from _describe_replaced(kinds.get("replaced", []), layers)
    yield from _describe_resized([group for group in kinds.get("resized", []) if group.status == "departs"])


def _weights_of(group: NodeGroup) -> Mapping[str, Any]:
    return group.weights or {}


def _describe_precision(old: DiffModel, new: DiffModel, layers: Sequence[NodeGroup]) -> Iterator[Change]:
    changed = [group for group in layers if (types := _weights_of(group).get("types", ["", ""]))[0] != types[1]]
    for kind in dict.fromkeys(_weights_of(group)["types"][1] for group in changed):
        ours = [group for group in changed if _weights_of(group)["types"][1] == kind and not _is_small(group)]
        if not ours:
            continue
        gaps = [
            float(_weights_of(g)["difference"])
            for g in ours
            if g.weights and "difference" in g.weights and _weights_of(g)["kind"] == "requantised"
        ]
        rounded = f"; they differ by {100 * median(gaps):.2g} % (median), which rounding explains" if gaps else ""
        word = _PRECISIONS.get(kind, kind)
        yield Change(
            {"half precision": "half"}.get(word, word.replace(" ", "-")),
            f"{_count_layers(ours)} stored in {word} (before: {_PRECISIONS.get(_weights_of(ours[0])['types'][0], _weights_of(ours[0])['types'][0])}){rounded}.",
            _names(ours),
        )


def _is_small(group: NodeGroup) -> bool:
    """Whether a group holds nothing but an element-wise operation with a constant."""
    return all(node.op in _SMALL for node in group.new if node.computes)


def _describe_pruned(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> Iterator[Change]:
    if groups:
        shares = [float(_weights_of(group)["pruned"]) for group in groups]
        words = (
            f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %"
            if max(shares) - min(shares) > 0.02
            else f"{100 * median(shares):.0f} %"
        )
        yield Change(
            "pruned",
            f"Weights were pruned in {_of_all(groups, layers)}: {words} of them are 0 now{_list(groups, layers)}.",
            _names(groups),
        )


def _describe_trained(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> Iterator[Change]:
    if groups:
        gaps = [float(_weights_of(group).get("difference", 0.0)) for group in groups]
        size = f"{100 * median(gaps):.2g} % (median)" if len(gaps) > 1 else f"{100 * gaps[0]:.2g} %"
        yield Change(
            "trained",
            f"Weights were trained further in {_of_all(groups, layers)}: they differ by {size}{_list(groups, layers)}.",
            _names(groups),
        )


def _describe_bias(groups: Sequence[NodeGroup]) -> Iterator[Change]:
    if groups:
        text = f"Only the bias differs in {count(len(groups), 'layer')}, {_AS_FOLDED}: {_list_names(groups)}."
        yield Change("bias", text, _names(groups))


def _describe_permuted(groups: Sequence[NodeGroup], *, classes: bool) -> Iterator[Change]:
    departing = [group for group in groups if group.status == "departs"]
    inside = [group for group in departing if _weights_of(group).get("axis") == "input"]
    outside = [group for group in departing if group not in inside]
    if outside:
        moved = _weights_of(outside[-1]).get("moved", 0)
        reason = "as where classes are sorted otherwise" if classes else "which what reads them does not undo"
        kind = "classes-permuted" if classes else "channels-permuted"
        text = f"The outputs of {_list_names(outside)} have another order ({moved} of them moved), {reason}."
        yield Change(kind, text, _names(outside))
    if inside:
        moved = _weights_of(inside[-1]).get("moved", 0)
        text = (
            f"The weights that make each output of {_list_names(inside)} have another order ({moved} of them moved), "
            "as where colours or other inputs are sorted otherwise, or kernels turned."
        )
        yield Change("inputs-permuted", text, _names(inside))
    yield from _describe_inner([group for group in groups if group.status != "departs"])


def _describe_inner(groups: Sequence[NodeGroup]) -> Iterator[Change]:
    """Layers whose weights follow another order of channels: consistently, unless they are behind one that departs."""
    follow = [group for group in groups if group.status == "downstream"]
    undone = [group for group in groups if group not in follow]
    for ours, how in ((undone, ", consistently"), (follow, " behind those that depart")):
        if ours:
            count = "1 layer" if len(ours) == 1 else f"{len(ours)} layers"
            yield Change(
                "channels-permuted", f"Channels have another order in {count}{how}: {_list_names(ours)}.", _names(ours)
            )


def _describe_scaled(groups: Sequence[NodeGroup]) -> Iterator[Change]:
    if groups:
        low, high = min(_weights_of(g)["factor"][0] for g in groups), max(_weights_of(g)["factor"][1] for g in groups)
        one = abs(high - low) < 1e-3 * abs(low)
        factor = f"{low:.4g}" if one else f"{low:.3g} to {high:.3g}, a factor per channel, {_AS_FOLDED},"
        text = f"Weights were multiplied by {factor} in {count(len(groups), 'layer')}: {_list_names(groups)}."
        yield Change("scaled", text, _names(groups))


def _describe_folded(groups: Sequence[NodeGroup]) -> Iterator[Change]:
    for group in groups:
        facts = _weights_of(group)
        low, high = facts.get("factor", [1.0, 1.0])
        cause = f": {facts['cause']}" if facts.get("cause") else ""
        off = (
            f"weights are {low:.3g} to {high:.3g} times the right ones"
            if max(abs(low - 1), abs(high - 1)) > 1e-3
            else "weights are right"
        )
        bias = f", the bias is off by {format_percent(facts['bias'])} of its length" if facts.get("bias", 0) > 1e-2 else ""
        yield Change(
            "folded-wrongly",
            f"A batch normalisation was folded wrongly at {_list_names([group])}{cause} ({off}{bias}).",
            _names([group]),
        )


def _describe_replaced(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> Iterator[Change]:
    if groups:
        yield Change(
            "other-weights",
            f"Weights are unrelated to the old ones in {_of_all(groups, layers)}{_list(groups, layers)}.",
            _names(groups),
        )


def _describe_resized(groups: Sequence[NodeGroup]) -> Iterator[Change]:
    if groups:
        yield Change(
            "resized", f"Weights have another size in {count(len(groups), 'layer')}: {_list_names(groups)}.", _names(groups)
        )


def _count_layers(groups: Sequence[NodeGroup]) -> str:
    return "The weights of one layer are" if len(groups) == 1 else f"The weights of {len(groups)} layers are"


def _of_all(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> str:
    return "all layers" if len(groups) == len(layers) > 1 else f"{len(groups)} of {len(layers)} layers"


def _list(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> str:
    return f" ({_list_names(groups)})" if len(groups) < len(layers) or len(layers) == 1 else ""


def _list_names(groups: Sequence[NodeGroup]) -> str:
    names = _names(groups)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shorten(name, MOST_NAME) for name in names[:_NAMED]) + more


def _names(groups: Sequence[NodeGroup]) -> tuple[str, ...]:
    found = [
        next((node for node in reversed(group.new or group.old) if node.computes), (group.new or group.old)[-1])
        for group in groups
    ]
    return tuple(node.name for node in found)
