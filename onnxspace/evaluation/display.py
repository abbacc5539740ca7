"""What sessions and notebooks show of an evaluation, from the object that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxspace.similarity.html import render_notes, render_table
from onnxspace.storage.short_text import MOST_LINES, align, count, count_losses, format_value, join_lines

Found = Mapping[str, Any]
_CORRELATIONS = ("weighted_tau", "kendall_tau", "spearman")


def describe_evaluation(found: Found) -> str:
    """The oracle, the number of targets, and weighted tau of the first rankings."""
    oracle = f"{found['oracle']}: {count(len(found['targets']), 'target')}, {found['relevant']} relevant"
    heading = f"Evaluation of {count(len(found['rankings']), 'ranking')} against {oracle}"
    rows = [[one["name"], "weighted tau", _format_interval(one["weighted_tau"])] for one in found["rankings"]]
    return join_lines(heading, align(rows[:MOST_LINES], len(rows)), count_losses([], found["warnings"]))


def render_evaluation(found: Found) -> str:
    """A row per ranking: rank correlations and the precision of the first sources, with the bounds of a random order and the oracle."""
    count_k = len(found["random"]["precision"])
    places = sorted({1, min(3, count_k), min(5, count_k)})
    heading = ("", *(name.replace("_", " ") for name in _CORRELATIONS), *(f"P@{place}" for place in places))
    rows = [
        (one["name"], *(_format_interval(one[name]) for name in _CORRELATIONS), *_first(one["precision"]["mean"], places))
        for one in found["rankings"]
    ]
    for name, bound in (("random order", found["random"]), ("oracle", found["best"])):
        rows.append((name, *("" for _ in _CORRELATIONS), *_first(bound["precision"], places)))
    level = found["bootstrap"]["level"]
    caption = f"Rankings against {found['oracle']} ({count(len(found['targets']), 'target')}), with {level:.0%} intervals"
    return render_table(caption, heading, rows) + render_notes(*found["warnings"])


def _first(values: list[float | None], places: list[int]) -> tuple[str, ...]:
    return tuple(format_value(values[place - 1]) for place in places)


def _format_interval(one: Found) -> str:
    return f"{format_value(one['mean'])} [{format_value(one['low'])}, {format_value(one['high'])}]"
