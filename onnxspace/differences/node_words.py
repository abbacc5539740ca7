"""Sentences on the form of a file, the order of axes, and nodes that were added, removed or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from onnxspace.differences.findings import Findings, name_end
from onnxspace.differences.fusion_words import count_computing, join_operators, list_patterns, name_places, names_of
from onnxspace.differences.result import MOST_NAME, Change, InputSizes, Node, NodeGroup
from onnxspace.storage.printable import shorten

_NAMED = 3
#: What became of weights where nodes that depart have little more in common than their place.
_UNRELATED = frozenset({"equal", "replaced", "resized", "regrouped", "unread"})


def describe_export(found: Findings) -> Iterator[Change]:
    pairs = [(a, b) for group in found.groups for a, b in zip(group.old, group.new, strict=False) if group.status == "equal"]
    renamed = sum(a.name != b.name for a, b in pairs)
    if found.old.producer != found.new.producer:
        yield Change(
            "re-export",
            f"It was written by {found.new.producer or 'an unknown tool'} (before: {found.old.producer or 'an unknown tool'}).",
        )
    elif pairs and 2 * renamed > len(pairs):
        yield Change("re-export", f"It was exported anew: {renamed} of {len(pairs)} equal nodes have other names.")
    elif found.error is not None and all(group.status == "equal" and _kind(group) == "equal" for group in found.groups):
        yield Change(
            "same-graph",
            f"The graphs are equal, node for node ({found.new.nodes} nodes); the files differ in names or metadata.",
        )


def describe_opset(found: Findings) -> Iterator[Change]:
    if found.old.opset != found.new.opset:
        yield Change("opset", f"The operator set is {found.new.opset} (before: {found.old.opset}).")


def describe_inputs(found: Findings) -> Iterator[Change]:
    """Inputs at the same places that have other sizes in the files."""
    if len(found.old.inputs) != len(found.new.inputs):
        return
    ours = [
        (a, b) for a, b in zip(found.old.inputs, found.new.inputs, strict=True) if a.sizes and b.sizes and a.sizes != b.sizes
    ]
    if ours:
        parts = [f"{shorten(b.name, MOST_NAME)} is {_write_sizes(b)} (before: {_write_sizes(a)})" for a, b in ours[:_NAMED]]
        more = f", and {len(ours) - _NAMED} more" if len(ours) > _NAMED else ""
        word = "input" if len(ours) == 1 else "inputs"
        yield Change("input-size", f"The {word} {', '.join(parts)}{more}.")


def _write_sizes(value: InputSizes) -> str:
    """Sizes with crosses between them; those that are open are any."""
    return "×".join("any" if size is None else str(size) for size in value.sizes)


def describe_outputs(found: Findings) -> Iterator[Change]:
    """Outputs of the same names in another order, which are compared by their places."""
    old, new = [str(row.old) for row in found.outputs], [str(row.new) for row in found.outputs]
    if old != new and sorted(old) == sorted(new):
        names = ", ".join(shorten(name, MOST_NAME) for name in new[:_NAMED]) + (", …" if len(new) > _NAMED else "")
        yield Change("outputs-moved", f"The outputs are listed in another order ({names}), and are compared in it.")
    for more, fewer, word in ((new, old, "added"), (old, new, "removed")):
        count = fewer.count("None")
        if count:
            words = "One output was" if count == 1 else f"{count} outputs were"
            ours = [shorten(name, MOST_NAME) for name in more if name not in fewer]
            listed = ": " + ", ".join(ours[:_NAMED]) + (", …" if count > _NAMED else "") if len(ours) == count else ""
            yield Change(f"outputs-{word}", f"{words} {word}{listed}.")


def describe_layout(found: Findings) -> Iterator[Change]:
    relaid = [group for group in found.groups if group.status == "relaid" and any(node.computes for node in group.new)]
    turned = [
        node for group in found.groups if group.status in ("added", "replaced") for node in group.new if node.op == "Transpose"
    ]
    gone = [
        node
        for group in found.groups
        if group.status in ("removed", "replaced")
        for node in group.old
        if node.op == "Transpose"
    ]
    permuted = [group for group in relaid if (group.weights or {}).get("kind") == "permuted"]
    rest = [group for group in relaid if group not in permuted]
    if rest and (turned or gone):
        moved = f"{len(turned)} Transpose nodes were added and {len(gone)} removed"
        yield Change(
            "layout",
            f"Axes have another order (such as NHWC for NCHW) in {len(rest)} nodes that compute the same; {moved}.",
            names_of(rest),
        )
    elif len(rest) > 1:
        yield Change("shape", f"{len(rest)} nodes compute the same values in another shape or order of axes.", names_of(rest))


def describe_nodes(found: Findings) -> Iterator[Change]:
    for status, matters in (("removed", True), ("added", True), ("removed", False), ("added", False)):
        groups = [
            g for g in found.groups if g.status == status and g.matters == matters and any(n.computes for n in (*g.old, *g.new))
            and not _is_clipping(g)
        ]  # fmt: skip
        if groups:
            nodes = [node for group in groups for node in (*group.old, *group.new) if node.computes]
            effect = "and values differ behind them" if matters else "without an effect on values"
            words = "node was" if len(nodes) == 1 else "nodes were"
            effect = effect.replace("them", "it") if len(nodes) == 1 else effect
            yield Change(
                f"{status}", f"{len(nodes)} {words} {status}, {effect}: {_list_nodes(nodes)}.", tuple(n.name for n in nodes)
            )
    yield from _describe_clipping(found)
    yield from _describe_changed(found)
    yield from _describe_moving(found)


def _is_clipping(group: NodeGroup) -> bool:
    return group.status == "added" and group.matters and {node.op for node in group.new if node.computes} == {"QuantizeLinear"}


def _describe_clipping(found: Findings) -> Iterator[Change]:
    """Quantisations whose range does not hold the values."""
    groups = [group for group in found.groups if _is_clipping(group)]
    if groups:
        text = (
            f"Values are beyond the range of the integers, and cut off, at {name_places(groups)}: {_list_nodes(_ends(groups))}."
        )
        yield Change("clipped", text, names_of(groups))


def _describe_moving(found: Findings) -> Iterator[Change]:
    """Nodes that hold constants, compute shapes or only move values, which one file has and the other lacks."""
    for status in ("removed", "added"):
        groups = [
            group for group in found.groups if group.status == status and not any(n.computes for n in (*group.old, *group.new))
        ]
        nodes = [node for group in groups for node in (*group.old, *group.new)]
        if nodes:
            counts = Counter(node.op for node in nodes).most_common()
            listed = ", ".join(f"{shorten(op, MOST_NAME)} ×{number}" for op, number in counts[:_NAMED])
            more = ", and others" if len(counts) > _NAMED else ""
            words = "1 node was" if len(nodes) == 1 else f"{len(nodes)} nodes were"
            text = f"{words} {status} that hold constants, compute shapes or only move values: {listed}{more}."
            text = (
                text.replace(
                    "that hold constants, compute shapes or only move", "that holds a constant, computes a shape or only moves"
                )
                if len(nodes) == 1
                else text
            )
            yield Change(f"moving-nodes-{status}", text, tuple(node.name for node in nodes))


def _describe_changed(found: Findings) -> Iterator[Change]:
    """Nodes without changed weights that compute something else."""
    plain = [
        group for group in found.groups if group.status == "departs" and _kind(group) in ("equal", "requantised", "regrouped")
        and not _is_rounded_in_place(group)
    ]  # fmt: skip
    others = [group for group in plain if join_operators(group.old) != join_operators(group.new)]
    if others:
        words = "At one place" if len(others) == 1 else f"At {len(others)} places"
        text = f"{words} other nodes compute something else: {list_patterns(others)}, at {_list_nodes(_ends(others))}."
        yield Change("other-operator", text, names_of(others))
    alike = [group for group in plain if group not in others]
    if alike:
        words = "One node computes" if len(alike) == 1 else f"{len(alike)} nodes compute"
        hint = "" if any(group.settings for group in alike) else ", as with another constant"
        yield Change("changed", f"{words} something else from equal inputs{hint}: {_list_settings(alike)}.", names_of(alike))


def _is_rounded_in_place(group: NodeGroup) -> bool:
    """Whether weights were rounded and kept in their type, which another sentence says."""
    return _kind(group) == "requantised" and (group.weights or {}).get("types") == ["float32", "float32"] and not group.settings


def _list_settings(groups: Sequence[NodeGroup]) -> str:
    """Nodes with their operators, and the attributes and constants in which they differ."""
    parts = []
    for group in groups[:_NAMED]:
        node = name_end(group)
        settings = "; ".join(
            f"{name}: {shorten(old, MOST_NAME)} → {shorten(new, MOST_NAME)}" for name, old, new in group.settings
        )
        parts.append(f"{shorten(node.name or '?', MOST_NAME)} ({node.op}{'; ' if settings else ''}{settings})")
    return ", ".join(parts) + (f" and {len(groups) - _NAMED} more" if len(groups) > _NAMED else "")


def _kind(group: NodeGroup) -> str:
    return str((group.weights or {}).get("kind", "equal"))


def _ends(groups: Sequence[NodeGroup]) -> list[Node]:
    """The last nodes of groups that compute."""
    return [name_end(group) for group in groups]


def _list_nodes(nodes: Sequence[Node]) -> str:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return ", ".join(f"{shorten(node.name or '?', MOST_NAME)} ({node.op})" for node in nodes[:_NAMED]) + more


def describe_kinship(found: Findings) -> Iterator[Change]:
    paired = sum(
        count_computing(group.new)
        for group in found.groups
        if group.old and (group.status != "departs" or _kind(group) not in _UNRELATED or _has_counterpart(group))
    )
    if 4 * paired < found.new.computing:
        yield Change(
            "unrelated",
            f"The networks have little in common: {paired} of {found.new.computing} nodes that compute have a counterpart.",
        )


def _has_counterpart(group: NodeGroup) -> bool:
    """Whether a node has a partner of the same operator from which it departs by attributes or small constants alone."""
    return bool(group.settings) and join_operators(group.old) == join_operators(group.new)
