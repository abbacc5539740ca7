"""Sentences on what was done to a model, and whether both networks compute the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from onnxspace.differences.result import Change, DiffModel, Node, NodeGroup, OutputRow, Verdict
from onnxspace.differences.weight_words import describe_weights

#: Relative error of outputs up to which they are equal in single precision, and up to which any are.
SAME, _EXACT = 1e-3, 1e-6
_NAMED = 3
#: Weights that may differ although the network computes the same.
_COMPENSATED = frozenset({"scaled", "permuted"})


@dataclass(frozen=True)
class Findings:
    """All that sentences are made of: both models, the groups of their nodes, and their outputs; `precision` is the lowest one."""

    old: DiffModel
    new: DiffModel
    groups: tuple[NodeGroup, ...]
    outputs: tuple[OutputRow, ...]
    precision: str

    @property
    def departing(self) -> list[NodeGroup]:
        """The groups that change values themselves, in the order of the graphs."""
        return [group for group in self.groups if group.status == "departs" or group.matters]

    @property
    def error(self) -> float | None:
        """The largest relative error of the outputs; None where one can't be compared."""
        errors = [row.relative_error for row in self.outputs]
        return None if not errors or None in errors else max(error for error in errors if error is not None)


def find_verdict(found: Findings) -> Verdict:
    """Whether both compute the same, the same but for rounding to a lower precision, or something else."""
    kinds = {(group.weights or {}).get("kind") for group in found.departing}
    if found.error is None or any(row.permuted for row in found.outputs):
        return "differ"
    if found.departing and not (kinds <= _COMPENSATED and found.error <= SAME):
        return "differ"
    if found.precision == "single":
        return "same" if found.error <= SAME else "differ"
    return "same" if found.error <= _EXACT else "rounding"


def summarise(found: Findings, verdict: Verdict) -> str:
    """The verdict in a sentence, with its evidence."""
    if found.old.sha256 == found.new.sha256:
        return "Both files are equal, byte for byte."
    if verdict == "same":
        return f"The networks compute the same: their outputs differ by {_format_error(found.error)} at most."
    if verdict == "rounding":
        return (
            f"The networks are the same but for rounding to {_name_precision(found)}: their outputs differ by "
            f"{_format_error(found.error)}."
        )
    tail = _describe_outputs(found)
    if not found.departing:
        return f"The networks differ: {tail}."
    return f"The networks differ: they first depart at {name_group(found.departing[0])}; {tail}."


def _describe_outputs(found: Findings) -> str:
    if any(row.old is None or row.new is None for row in found.outputs):
        return "they have other outputs"
    if any(row.permuted for row in found.outputs):
        return "the outputs hold the old values in another order"
    if found.error is None:
        return "the outputs have other shapes or values that are not finite"
    return f"the outputs differ by {_format_error(found.error)}"


def _format_error(error: float | None) -> str:
    if not error:
        return "nothing"
    return f"{100 * error:.2g} %" if error >= 1e-4 else f"{error:.1g} of their length"


def _name_precision(found: Findings) -> str:
    if found.precision == "int8":
        return "eight bits"
    return "bfloat16" if "bfloat16" in (*found.old.types, *found.new.types) else "half precision"


def name_group(group: NodeGroup) -> str:
    """The nodes of a group that compute, those of the new file where there are some."""
    nodes = [node for node in (group.new or group.old) if node.computes] or list(group.new or group.old)
    words = f"{nodes[-1].name or '?'} ({nodes[-1].op})"
    return f"{words}, which was {group.status}" if group.status in ("added", "removed") else words


def describe_changes(found: Findings) -> tuple[Change, ...]:
    """What was done, as sentences: the form of the file first, then weights, then nodes."""
    if found.old.sha256 == found.new.sha256:
        return ()
    sources: Sequence[Callable[[Findings], Iterator[Change]]] = (
        _describe_export, _describe_opset, _describe_fusion, _describe_layout, describe_weights_of, _describe_nodes, _describe_kinship,
    )  # fmt: skip
    return tuple(change for source in sources for change in source(found))


def describe_weights_of(found: Findings) -> Iterator[Change]:
    yield from describe_weights(found.old, found.new, found.groups)


def _describe_export(found: Findings) -> Iterator[Change]:
    pairs = [(a, b) for group in found.groups for a, b in zip(group.old, group.new, strict=False) if group.status == "equal"]
    renamed = sum(a.name != b.name for a, b in pairs)
    if found.old.producer != found.new.producer:
        yield Change(
            "re-export",
            f"It was written by {found.new.producer or 'an unknown tool'} (before: {found.old.producer or 'an unknown tool'}).",
        )
    elif pairs and 2 * renamed > len(pairs):
        yield Change("re-export", f"It was exported anew: {renamed} of {len(pairs)} equal nodes have other names.")
    elif all(group.status == "equal" for group in found.groups) and all(
        (group.weights or {}).get("kind", "equal") == "equal" for group in found.groups
    ):
        yield Change(
            "same-graph",
            f"The graphs are equal, node for node ({found.new.nodes} nodes); the files differ in names or metadata.",
        )


def _describe_opset(found: Findings) -> Iterator[Change]:
    if found.old.opset != found.new.opset:
        yield Change("opset", f"The operator set is {found.new.opset} (before: {found.old.opset}).")


def _describe_fusion(found: Findings) -> Iterator[Change]:
    replaced = [
        group
        for group in found.groups
        if group.status == "replaced" and any(node.computes for node in (*group.old, *group.new))
    ]
    folded = [group for group in replaced if (group.weights or {}).get("kind") == "folded"]
    if folded:
        words = "batch normalisation is" if len(folded) == 1 else "batch normalisations are"
        yield Change("folded", f"{len(folded)} {words} folded into the layer before, rightly.", _names(folded))
    fused = [group for group in replaced if _count(group.old) > _count(group.new) and (group not in folded or _is_fused(group))]
    own = any(_is_fused(group) for group in replaced) or (
        found.new.producer == found.old.producer and _has_runtime_names(found)
    )
    if fused or (own and folded):
        groups = fused or folded
        who = "ONNX Runtime fused nodes" if own else "Nodes were fused"
        yield Change("fused", f"{who} at {_times(groups)}: {_list_patterns(groups)}.", _names(groups))
    split = [group for group in replaced if _count(group.old) < _count(group.new)]
    if split:
        yield Change("split", f"Nodes were written out as several at {_times(split)}: {_list_patterns(split)}.", _names(split))
    others = [group for group in replaced if group not in folded and group not in fused and group not in split]
    if others:
        yield Change("replaced", f"Other nodes compute the same at {_times(others)}: {_list_patterns(others)}.", _names(others))


def _is_fused(group: NodeGroup) -> bool:
    return any(node.domain.startswith("com.microsoft") and not node.op.startswith("QLinear") for node in group.new)


def _has_runtime_names(found: Findings) -> bool:
    """Whether nodes have names that only ONNX Runtime's optimiser gives."""
    marks = ("Fusion", "_token_", "nchwc", "ReorderInput", "ReorderOutput")
    return any(mark in node.name for group in found.groups for node in group.new for mark in marks)


def _count(nodes: Sequence[Node]) -> int:
    return sum(node.computes for node in nodes)


def _times(groups: Sequence[NodeGroup]) -> str:
    return "one place" if len(groups) == 1 else f"{len(groups)} places"


def _list_patterns(groups: Sequence[NodeGroup]) -> str:
    """The most frequent operators of replaced nodes and of those in their place."""
    counts = Counter((_join(group.old), _join(group.new)) for group in groups)
    parts = [f"{old} → {new}" + (f" (×{count})" if count > 1 else "") for (old, new), count in counts.most_common(_NAMED)]
    return "; ".join(parts) + ("; and others" if len(counts) > _NAMED else "")


def _join(nodes: Sequence[Node]) -> str:
    ops = [node.op for node in nodes if node.computes] or [node.op for node in nodes]
    return "+".join(ops[:6]) + ("+…" if len(ops) > 6 else "")


def _names(groups: Sequence[NodeGroup]) -> tuple[str, ...]:
    return tuple((group.new or group.old)[-1].name for group in groups)


def _describe_layout(found: Findings) -> Iterator[Change]:
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
            _names(rest),
        )
    elif len(rest) > 1:
        yield Change("shape", f"{len(rest)} nodes compute the same values in another shape or order of axes.", _names(rest))


def _describe_nodes(found: Findings) -> Iterator[Change]:
    for status, matters in (("removed", True), ("added", True), ("removed", False), ("added", False)):
        groups = [
            g for g in found.groups if g.status == status and g.matters == matters and any(n.computes for n in (*g.old, *g.new))
        ]
        if groups:
            nodes = [node for group in groups for node in (*group.old, *group.new) if node.computes]
            effect = "and values differ behind them" if matters else "without an effect on values"
            words = "node was" if len(nodes) == 1 else "nodes were"
            effect = effect.replace("them", "it") if len(nodes) == 1 else effect
            yield Change(
                f"{status}", f"{len(nodes)} {words} {status}, {effect}: {_list_nodes(nodes)}.", tuple(n.name for n in nodes)
            )
    plain = [
        group
        for group in found.groups
        if group.status == "departs" and (group.weights or {}).get("kind", "equal") in ("equal", "requantised")
    ]
    if plain:
        words = "node computes" if len(plain) == 1 else "nodes compute"
        nodes = [next((n for n in reversed(group.new) if n.computes), group.new[-1]) for group in plain]
        yield Change(
            "changed",
            f"{len(plain)} {words} something else from equal inputs, as with other attributes: {_list_nodes(nodes)}.",
            _names(plain),
        )


def _list_nodes(nodes: Sequence[Node]) -> str:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return ", ".join(f"{node.name or '?'} ({node.op})" for node in nodes[:_NAMED]) + more


def _describe_kinship(found: Findings) -> Iterator[Change]:
    paired = sum(_count(group.new) for group in found.groups if group.old and group.status != "departs")
    if 4 * paired < found.new.computing:
        yield Change(
            "unrelated",
            f"The networks have little in common: {paired} of {found.new.computing} nodes that compute have a counterpart.",
        )
