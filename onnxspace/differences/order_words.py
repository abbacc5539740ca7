"""Sentences on channels, classes and inputs of layers that have another order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnxspace.differences.findings import format_percents
from onnxspace.differences.layer_names import list_layers, name_layers, weights_of
from onnxspace.differences.result import Change, NodeGroup
from onnxspace.storage.short_text import count

Groups = Sequence[NodeGroup]


def describe_orders(kinds: Mapping[str, Groups], layers: Groups, *, classes: bool) -> Iterator[Change]:
    """Layers in another order, exactly or trained further as well; `classes` tells that outputs of the network are permuted."""
    yield from _describe_permuted(kinds.get("permuted", ()), classes=classes)
    yield from _describe_trained(kinds.get("permuted_trained", ()), layers)


def _describe_permuted(groups: Groups, *, classes: bool) -> Iterator[Change]:
    departing = [group for group in groups if group.status == "departs"]
    inside = [group for group in departing if weights_of(group).get("axis") == "input"]
    outside = [group for group in departing if group not in inside]
    if outside:
        reason = "as where classes are sorted otherwise" if classes else "which what reads them does not undo"
        kind = "classes-permuted" if classes else "channels-permuted"
        text = f"The outputs of {list_layers(outside)} have another order ({_count_moved(outside)} of them moved), {reason}."
        yield Change(kind, text, name_layers(outside))
    if inside:
        text = (
            f"The weights that make each output of {list_layers(inside)} have another order ({_count_moved(inside)} of them moved), "
            "as where colours or other inputs are sorted otherwise, or kernels turned."
        )
        yield Change("inputs-permuted", text, name_layers(inside))
    yield from _describe_inner([group for group in groups if group.status != "departs"])


def _count_moved(groups: Groups) -> int:
    return int(weights_of(groups[-1]).get("moved", 0))


def _describe_inner(groups: Groups) -> Iterator[Change]:
    """Layers whose weights follow another order of channels: consistently, unless they are behind one that departs."""
    follow = [group for group in groups if group.status == "downstream"]
    undone = [group for group in groups if group not in follow]
    for ours, how in ((undone, ", consistently"), (follow, " behind those that depart")):
        if ours:
            text = f"Channels have another order in {count(len(ours), 'layer')}{how}: {list_layers(ours)}."
            yield Change("channels-permuted", text, name_layers(ours))


def _describe_trained(groups: Groups, layers: Groups) -> Iterator[Change]:
    """Layers that have another order and other weights; the last layer's outputs may be classes."""
    last = [group for group in groups if layers and group is layers[-1] and weights_of(group).get("axis") == "output"]
    others = [group for group in groups if group not in last]
    for ours, kind, what in ((last, "classes-permuted", "Outputs"), (others, "channels-permuted", "Channels")):
        if ours:
            gaps = format_percents([float(weights_of(group)["remaining"]) for group in ours])
            classes = ", as where classes are sorted otherwise," if ours is last else ""
            text = (
                f"{what} have another order in {count(len(ours), 'layer')} ({_count_moved(ours)} of them moved){classes} and weights were "
                f"trained further: once the order is undone, they differ by {gaps} ({list_layers(ours)})."
            )
            yield Change(kind, text, name_layers(ours))
