"""What a comparison of two graphs has found, of which sentences are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from onnxspace.differences.result import DiffModel, Node, NodeGroup, OutputRow


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


def format_percent(share: float) -> str:
    """A share in percent, with two digits or more.

    >>> format_percent(0.0123), format_percent(2.184)
    ('1.2 %', '218 %')
    """
    return f"{100 * share:.0f} %" if 0.995 <= share < 1e4 else f"{100 * share:.2g} %"


def format_percents(shares: Sequence[float]) -> str:
    """The median of several shares, called so, or a single one.

    >>> format_percents([0.1]), format_percents([0.1, 0.2, 0.4])
    ('10 %', '20 % (median)')
    """
    return format_percent(median(shares)) + (" (median)" if len(shares) > 1 else "")


def name_end(group: NodeGroup) -> Node:
    """The last node of a group that computes, of the new file where it has one."""
    nodes = group.new or group.old
    return next((node for node in reversed(nodes) if node.computes), nodes[-1])
