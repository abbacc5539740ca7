"""Comparisons of two graphs as `diff` returns them, of any size and with any names, and their pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnxspace.differences.page.write import write_page
from onnxspace.differences.result import (
    DiffModel,
    GraphDetails,
    LayerRow,
    ModelDiff,
    Node,
    NodeDetails,
    NodeGroup,
    OutputRow,
    Status,
)
from tests.helpers.pages import Page

#: A node departs every so often, and those after it follow.
EVERY, FOLLOWING = 97, 20


def block_name(place: int) -> str:
    """A name as exporters give it to a node of a transformer."""
    return f"/blocks/blocks.{place // 30}/part{place % 30 // 6}/Op_{place}"


def make_diff(nodes: int, name: Callable[[int], str] = block_name) -> ModelDiff:
    """A comparison of two graphs of `nodes` nodes in a chain with shortcuts, some of which depart."""
    facts = [_make_node(place, name(place)) for place in range(nodes)]
    old = DiffModel(name(0), "old.onnx", "0" * 64, name(1), 17, nodes, nodes, 10, {"float32": 3})
    details = tuple(
        NodeDetails(
            tuple(name(i).split("/")[1:-1]), (("axis", str(i % 7)),), (1, 197, 768), "float32",
            tuple(k for k in (i - 1, i - 7 * (i % 8 == 0)) if 0 <= k < i), True,
        ) for i in range(nodes)
    )  # fmt: skip
    return ModelDiff(
        old, replace(old, name=name(2), sha256="1" * 64), "differ", f"They differ at {name(5)}.", (), facts[5][0],
        tuple(group for group, _ in facts), tuple(row for _, row in facts), (OutputRow(name(3), name(4), 0.1, 0.2),),
        {"name": "random", "images": 4}, (name(6),),
        GraphDetails(details, details, tuple(((i,), (i,)) for i in range(nodes)), (0.1, 0.2, 0.3, 0.4)),
    )  # fmt: skip


def _make_node(place: int, name: str) -> tuple[NodeGroup, LayerRow]:
    status: Status = (
        "departs" if place % EVERY == 5 else "downstream" if 5 < place % EVERY < FOLLOWING and place > 5 else "equal"
    )
    node, error = Node(name, "MatMul" if place % 3 else "Add", "", True), 0.0123 if status != "equal" else 1.2345678e-7
    weights = {"kind": "trained", "difference": 0.1} if status == "departs" else None
    own = 0.01 / (1 + place) if status == "departs" else 0.0
    row = LayerRow(
        place, f"{name}_old", f"{name}_new", node.op, node.op, status, (1, 197, 768), (1, 197, 768), "float32", "float32",
        0.123456789, error, own, 0.99912345678, 38.123456789 - place / 1000, (-3.125, 4.5), (-3.25, 4.75), 0.0, 0.0, 1e-5,
    )  # fmt: skip
    return NodeGroup(status, (node,), (node,), error, own, weights), row


def page_of_diff(found: ModelDiff, folder: Path) -> Page:
    """The page of a comparison."""
    write_page(found, folder / "diff.html")
    return Page((folder / "diff.html").read_text("utf-8"))
