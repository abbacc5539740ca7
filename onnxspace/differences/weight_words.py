"""Sentences on what became of weights: precision, pruning, training, sizes, batch normalisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from onnxspace.differences.findings import format_percent, format_percents
from onnxspace.differences.layer_names import add_names, count_of, list_layers, name_layers, weights_of
from onnxspace.differences.order_words import describe_orders
from onnxspace.differences.result import Change, NodeGroup
from onnxspace.differences.value_words import describe_clipped, describe_exchanged, describe_neutral, describe_statistics
from onnxspace.storage.short_text import count

_PRECISIONS = {
    "float16": "half precision",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "uint8": "uint8",
    "float32": "single precision",
}
_SMALL = frozenset({"Add", "Mul", "Sub", "Div"})
Groups = Sequence[NodeGroup]
#: Makes the sentence on the layers of one kind, of all layers.
Describe = Callable[[Groups, Groups], Iterator[Change]]


def describe_weights(groups: Groups, *, classes: bool = False) -> Iterator[Change]:
    """What became of the weights of all groups, a sentence for each kind; `classes` tells that outputs of the network are permuted."""
    layers = [group for group in groups if group.weights is not None]
    kinds: dict[str, list[NodeGroup]] = {}
    for group in layers:
        kinds.setdefault(str(weights_of(group)["kind"]), []).append(group)
    yield from _describe_precision(layers)
    for kind, describe in _SENTENCES.items():
        if kinds.get(kind):
            yield from describe(kinds[kind], layers)
    yield from describe_orders(kinds, layers, classes=classes)


def _describe_precision(layers: Groups) -> Iterator[Change]:
    changed = [group for group in layers if (types := weights_of(group).get("types", ["", ""]))[0] != types[1]]
    for kind in dict.fromkeys(weights_of(group)["types"][1] for group in changed):
        ours = [group for group in changed if weights_of(group)["types"][1] == kind and not _is_small(group)]
        if ours:
            word, before = _name_precision(kind), _name_precision(weights_of(ours[0])["types"][0])
            verb = "The weights of one layer are" if len(ours) == 1 else f"The weights of {len(ours)} layers are"
            text = f"{verb} stored in {word} (before: {before}){_describe_rounding(ours)}."
            yield Change({"half precision": "half"}.get(word, word.replace(" ", "-")), text, name_layers(ours))


def _name_precision(kind: str) -> str:
    return _PRECISIONS.get(kind, kind)


def _describe_rounding(groups: Groups) -> str:
    gaps = [
        float(found["difference"])
        for found in map(weights_of, groups)
        if found["kind"] == "requantised" and "difference" in found
    ]
    return f"; they differ by {format_percents(gaps)}, which rounding explains" if gaps else ""


def _is_small(group: NodeGroup) -> bool:
    """Whether a group holds nothing but an element-wise operation with a constant."""
    return all(node.op in _SMALL for node in group.new if node.computes)


def _describe_requantised(groups: Groups, layers: Groups) -> Iterator[Change]:
    """Integers whose scales are other ones, as of each channel in place of the whole layer."""
    ours = [
        group
        for group in groups
        if weights_of(group)["types"][0] == weights_of(group)["types"][1] and "int" in weights_of(group)["types"][0]
    ]
    if ours:
        text = f"Weights were rounded anew, with other scales, in {count_of(ours, layers)}{_describe_rounding(ours)}{add_names(ours, layers)}."
        yield Change("requantised", text, name_layers(ours))
    single = [group for group in groups if weights_of(group)["types"] == ["float32", "float32"]]
    ours = [group for group in single if "grid" in weights_of(group)]
    if ours:
        text = f"Weights were rounded to multiples of {_list_steps(ours)} in {count_of(ours, layers)}{_describe_rounding(ours)}{add_names(ours, layers)}."
        yield Change("requantised", text, name_layers(ours))
    ours = [group for group in single if group not in ours]
    if ours:
        text = (
            f"Weights were rounded to a lower precision, and are stored in single precision as before, in {count_of(ours, layers)}"
            f"{_describe_rounding(ours)}{add_names(ours, layers)}."
        )
        yield Change("requantised", text, name_layers(ours))


def _list_steps(groups: Groups) -> str:
    """The steps of which weights are multiples, the smallest and the largest one."""
    steps = [float(weights_of(group)["grid"]) for group in groups]
    low, high = f"{min(steps):.3g}", f"{max(steps):.3g}"
    return low if low == high else f"a step per layer, {low} to {high},"


def _describe_pruned(groups: Groups, layers: Groups) -> Iterator[Change]:
    shares = [float(weights_of(group)["pruned"]) for group in groups]
    low, high = min(shares), max(shares)
    words = f"{format_percent(low)} to {format_percent(high)}" if high - low > 0.02 else format_percent(median(shares))
    text = f"Weights were pruned in {count_of(groups, layers)}: {words} of them are 0 now{add_names(groups, layers)}."
    yield Change("pruned", text, name_layers(groups))


def _describe_trained(groups: Groups, layers: Groups) -> Iterator[Change]:
    gaps = [float(weights_of(group).get("difference", 0.0)) for group in groups]
    text = f"Weights were trained further in {count_of(groups, layers)}: they differ by {format_percents(gaps)}{add_names(groups, layers)}."
    yield Change("trained", text, name_layers(groups))


def _describe_transposed(groups: Groups, layers: Groups) -> Iterator[Change]:
    text = f"Weights were transposed, inputs for outputs, in {count_of(groups, layers)}{add_names(groups, layers)}."
    yield Change("transposed", text, name_layers(groups))


def _describe_edited(groups: Groups, layers: Groups) -> Iterator[Change]:
    most = max(int(weights_of(group)["edited"]) for group in groups)
    number = count(most, "weight") if len(groups) == 1 else f"up to {count(most, 'weight')} each"
    text = f"Few weights differ, and all others are the same numbers, in {count_of(groups, layers)}: {number}{add_names(groups, layers)}."
    yield Change("edited", text, name_layers(groups))


def _describe_unread(groups: Groups, layers: Groups) -> Iterator[Change]:
    text = f"Weights are not finite, and were not compared, in {count_of(groups, layers)}{add_names(groups, layers)}."
    yield Change("not-finite", text, name_layers(groups))


def _describe_clustered(groups: Groups, layers: Groups) -> Iterator[Change]:
    levels = [int(weights_of(group)["levels"]) for group in groups]
    number = (
        f"{min(levels)} to {max(levels)} different values" if min(levels) < max(levels) else count(levels[0], "different value")
    )
    gaps = format_percents([float(weights_of(group)["difference"]) for group in groups])
    text = f"Weights were replaced by {number} in {count_of(groups, layers)}: they differ by {gaps}{add_names(groups, layers)}."
    yield Change("clustered", text, name_layers(groups))


def _describe_adapted(groups: Groups, layers: Groups) -> Iterator[Change]:
    ranks = sorted({int(weights_of(group)["rank"]) for group in groups})
    number = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    gaps = format_percents([float(weights_of(group)["difference"]) for group in groups])
    text = (
        f"A matrix of rank {number} was added to the weights, as where a low-rank adapter was merged, in {count_of(groups, layers)}: "
        f"they differ by {gaps}{add_names(groups, layers)}."
    )
    yield Change("adapted", text, name_layers(groups))


def _describe_factorised(groups: Groups, _: Groups) -> Iterator[Change]:
    for group in groups:
        rank, gap = weights_of(group)["rank"], weights_of(group)["difference"]
        gap = "which is exact" if gap < 1e-5 else f"which differ by {format_percent(gap)}"
        text = (
            f"The weights of {list_layers([group])} are a product of two matrices of rank {rank} in one of both files, {gap}."
        )
        yield Change("factorised", text, name_layers([group]))


def _describe_shifted(groups: Groups, _: Groups) -> Iterator[Change]:
    low, high = min(weights_of(g)["shift"][0] for g in groups), max(weights_of(g)["shift"][1] for g in groups)
    shift = (
        f"{low:.3g}"
        if abs(high - low) <= 2e-3 * max(abs(low), abs(high))
        else f"{low:.3g} to {high:.3g}, a number per channel,"
    )
    factors = [factor for group in groups for factor in weights_of(group)["factor"]]
    scaled = "" if max(abs(factor - 1) for factor in factors) < 1e-3 else f", after they were multiplied by {min(factors):.3g}"
    text = f"All weights of a channel were shifted by {shift}{scaled}, in {count(len(groups), 'layer')}: {list_layers(groups)}."
    yield Change("shifted", text, name_layers(groups))


def _describe_bias(groups: Groups, _: Groups) -> Iterator[Change]:
    gaps = format_percents([float(weights_of(group)["bias"]) for group in groups])
    text = f"Only the bias differs, by {gaps}, in {count(len(groups), 'layer')}: {list_layers(groups)}."
    yield Change("bias", text, name_layers(groups))


def _describe_scaled(groups: Groups, _: Groups) -> Iterator[Change]:
    low, high = min(weights_of(g)["factor"][0] for g in groups), max(weights_of(g)["factor"][1] for g in groups)
    factor = f"{low:.4g}" if abs(high - low) < 1e-3 * abs(low) else f"{low:.3g} to {high:.3g}, a factor per channel,"
    undone = "" if any(group.status == "departs" for group in groups) else ", which other layers take back"
    text = f"Weights were multiplied by {factor} in {count(len(groups), 'layer')}{undone}: {list_layers(groups)}."
    yield Change("scaled", text, name_layers(groups))


def _describe_folded(groups: Groups, _: Groups) -> Iterator[Change]:
    for group in groups:
        facts: Mapping[str, object] = weights_of(group)
        cause = f": {facts['cause']}" if facts.get("cause") else ""
        text = f"A batch normalisation was folded wrongly at {list_layers([group])}{cause} ({_describe_error(group)})."
        yield Change("folded-wrongly", text, name_layers([group]))


def _describe_error(group: NodeGroup) -> str:
    """How far weights and bias are off."""
    facts = weights_of(group)
    low, high = facts.get("factor", [1.0, 1.0])
    right = max(abs(low - 1), abs(high - 1)) <= 1e-3
    weights = "weights are right" if right else f"weights are {low:.3g} to {high:.3g} times the right ones"
    bias = f", the bias is off by {format_percent(facts['bias'])} of its length" if facts.get("bias", 0) > 1e-2 else ""
    return weights + bias


def _describe_replaced(groups: Groups, layers: Groups) -> Iterator[Change]:
    text = f"Weights are unrelated to the old ones in {count_of(groups, layers)}{add_names(groups, layers)}."
    yield Change("other-weights", text, name_layers(groups))


def _describe_swapped(groups: Groups, _: Groups) -> Iterator[Change]:
    text = f"{count(len(groups), 'layer')} have changed places, each with the weights of another one: {list_layers(groups)}."
    yield Change("swapped", text, name_layers(groups))


def _describe_resized(groups: Groups, _: Groups) -> Iterator[Change]:
    ours = [group for group in groups if group.status == "departs"]
    if ours:
        sizes = "; ".join(f"{list_layers([group])} {_describe_sizes(group)}" for group in ours[:3])
        more = f"; and {len(ours) - 3} more" if len(ours) > 3 else ""
        yield Change("resized", f"Weights have another size in {count(len(ours), 'layer')}: {sizes}{more}.", name_layers(ours))


def _describe_sizes(group: NodeGroup) -> str:
    """Outputs before and after, and how many of the old ones are kept; or weights of each output."""
    facts = weights_of(group)
    (old, new), inputs = facts.get("outputs", [0, 0]), facts.get("inputs", [0, 0])
    if old == new:
        return f"({inputs[0]} → {inputs[1]} weights for each of {old} outputs)"
    kept = facts.get("kept")
    if kept is None:
        return f"({old} → {new} outputs, {inputs[0]} → {inputs[1]} weights for each)"
    if kept == old < new:
        return f"({old} → {new} outputs: all old ones are kept, {new - old} added)"
    return f"({old} → {new} outputs, " + (f"of which {kept} are old ones)" if kept else "none of which is an old one)")


#: What is said of each kind, in the order of the sentences.
_SENTENCES: Mapping[str, Describe] = {
    "requantised": _describe_requantised, "pruned": _describe_pruned, "clustered": _describe_clustered, "trained": _describe_trained,
    "transposed": _describe_transposed, "edited": _describe_edited, "unread": _describe_unread, "adapted": _describe_adapted, "factorised": _describe_factorised, "shifted": _describe_shifted, "bias": _describe_bias,
    "scaled": _describe_scaled, "folded_wrongly": _describe_folded, "swapped": _describe_swapped, "replaced": _describe_replaced,
    "resized": _describe_resized, "clipped": describe_clipped, "exchanged": describe_exchanged, "statistics": describe_statistics,
    "neutral": describe_neutral,
}  # fmt: skip
