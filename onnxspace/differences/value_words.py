"""Sentences on weights that were limited or exchanged, and on statistics of normalisations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxspace.differences.findings import format_percents
from onnxspace.differences.layer_names import add_names, count_of, list_layers, name_layers, weights_of
from onnxspace.differences.result import Change, NodeGroup
from onnxspace.storage.short_text import count

Groups = Sequence[NodeGroup]


def describe_clipped(groups: Groups, layers: Groups) -> Iterator[Change]:
    """Weights that were limited to a range."""
    limits = [weights_of(group)["limits"] for group in groups]
    low, high = min(one[0] for one in limits), max(one[1] for one in limits)
    each = f"{low:.3g} to {high:.3g}" if len(groups) == 1 else f"a range each ({low:.3g} to {high:.3g} at most)"
    cut = sum(int(weights_of(group)["edited"]) for group in groups)
    text = f"Weights were limited to {each} in {count_of(groups, layers)}, which changed {count(cut, 'weight')}{add_names(groups, layers)}."
    yield Change("weights-clipped", text, name_layers(groups))


def describe_exchanged(groups: Groups, _: Groups) -> Iterator[Change]:
    """Normalisations of which two parameters have the values of each other."""
    for pair in dict.fromkeys(tuple(weights_of(group)["exchanged"]) for group in groups):
        ours = [group for group in groups if tuple(weights_of(group)["exchanged"]) == pair]
        text = f"The {pair[0]} and the {pair[1]} of {_count_norms(ours)} were exchanged: {list_layers(ours)}."
        yield Change("exchanged", text, name_layers(ours))


def describe_statistics(groups: Groups, _: Groups) -> Iterator[Change]:
    """Normalisations with other means and variances, and the same scale and shift."""
    reset = all(weights_of(group).get("reset") for group in groups)
    what = "are those before training (means of 0, variances of 1)" if reset else "are others"
    gaps = format_percents([float(weights_of(group)["difference"]) for group in groups])
    text = f"The statistics of {_count_norms(groups)} {what}, while scale and shift are equal: parameters differ by {gaps} ({list_layers(groups)})."
    yield Change("statistics", text, name_layers(groups))


def describe_neutral(groups: Groups, layers: Groups) -> Iterator[Change]:
    """Normalisations without a scale and a shift of their own."""
    text = f"The scale of {_count_norms(groups)} is 1 and the shift 0, as before training or where other layers have them: {list_layers(groups)}."
    yield Change("neutral", text, name_layers(groups))


def _count_norms(groups: Groups) -> str:
    return "a normalisation" if len(groups) == 1 else count(len(groups), "normalisation")
