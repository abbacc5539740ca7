"""Sentences on nodes that were replaced by others that compute the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from onnxspace.differences.findings import Findings
from onnxspace.differences.result import Change, Node, NodeGroup

_NAMED = 3


def describe_fusion(found: Findings) -> Iterator[Change]:
    replaced = [
        group
        for group in found.groups
        if group.status == "replaced" and any(node.computes for node in (*group.old, *group.new))
    ]
    folded = [group for group in replaced if (group.weights or {}).get("kind") == "folded"]
    if folded:
        words = "batch normalisation is" if len(folded) == 1 else "batch normalisations are"
        yield Change("folded", f"{len(folded)} {words} folded into the layer before, rightly.", names_of(folded))
    fused = [
        group
        for group in replaced
        if count_computing(group.old) > count_computing(group.new) and (group not in folded or _is_fused(group))
    ]
    own = any(_is_fused(group) for group in replaced) or (
        found.new.producer == found.old.producer and _has_runtime_names(found)
    )
    if fused or (own and folded):
        groups = fused or folded
        who = "ONNX Runtime fused nodes" if own else "Nodes were fused"
        yield Change("fused", f"{who} at {name_places(groups)}: {list_patterns(groups)}.", names_of(groups))
    split = [group for group in replaced if count_computing(group.old) < count_computing(group.new)]
    if split:
        yield Change(
            "split", f"Nodes were written out as several at {name_places(split)}: {list_patterns(split)}.", names_of(split)
        )
    others = [group for group in replaced if group not in folded and group not in fused and group not in split]
    if others:
        yield Change(
            "replaced", f"Other nodes compute the same at {name_places(others)}: {list_patterns(others)}.", names_of(others)
        )


def _is_fused(group: NodeGroup) -> bool:
    return any(node.domain.startswith("com.microsoft") and not node.op.startswith("QLinear") for node in group.new)


def _has_runtime_names(found: Findings) -> bool:
    """Whether nodes have names that only ONNX Runtime's optimiser gives."""
    marks = ("Fusion", "_token_", "nchwc", "ReorderInput", "ReorderOutput")
    return any(mark in node.name for group in found.groups for node in group.new for mark in marks)


def count_computing(nodes: Sequence[Node]) -> int:
    return sum(node.computes for node in nodes)


def name_places(groups: Sequence[NodeGroup]) -> str:
    return "one place" if len(groups) == 1 else f"{len(groups)} places"


def list_patterns(groups: Sequence[NodeGroup]) -> str:
    """The most frequent operators of replaced nodes and of those in their place."""
    counts = Counter((join_operators(group.old), join_operators(group.new)) for group in groups)
    parts = [f"{old} → {new}" + (f" (×{count})" if count > 1 else "") for (old, new), count in counts.most_common(_NAMED)]
    return "; ".join(parts) + ("; and others" if len(counts) > _NAMED else "")


def join_operators(nodes: Sequence[Node]) -> str:
    ops = [node.op for node in nodes if node.computes] or [node.op for node in nodes]
    return "+".join(ops[:6]) + ("+…" if len(ops) > 6 else "")


def names_of(groups: Sequence[NodeGroup]) -> tuple[str, ...]:
    return tuple((group.new or group.old)[-1].name for group in groups)
