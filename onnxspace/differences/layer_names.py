"""Names and numbers of layers, for sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxspace.differences.findings import name_end
from onnxspace.differences.result import MOST_NAME, NodeGroup
from onnxspace.storage.printable import shorten

_NAMED = 3


def weights_of(group: NodeGroup) -> Mapping[str, Any]:
    """What became of a group's weights; empty where it has none."""
    return group.weights or {}


def count_of(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> str:
    """How many of all layers these are."""
    if len(groups) < len(layers):
        return f"{len(groups)} of {len(layers)} layers"
    return "the only layer" if len(layers) == 1 else f"all {len(layers)} layers"


def add_names(groups: Sequence[NodeGroup], layers: Sequence[NodeGroup]) -> str:
    """The names in brackets, unless these are all layers."""
    return f" ({list_layers(groups)})" if len(groups) < len(layers) or len(layers) == 1 else ""


def list_layers(groups: Sequence[NodeGroup]) -> str:
    """The names of the first layers, and how many more there are."""
    names = name_layers(groups)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shorten(name, MOST_NAME) for name in names[:_NAMED]) + more


def name_layers(groups: Sequence[NodeGroup]) -> tuple[str, ...]:
    """The name of each group's last node that computes, of the new file where it has one."""
    return tuple(name_end(group).name for group in groups)
