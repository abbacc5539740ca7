"""Tables and numbers in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from models.minitaskonomy.page.results import Measurement

SHOWN = ("P@1", "P@3", "P@5", "tau")
Row = Sequence[str]


def format_sentence(one: Measurement) -> str:
    return f"P@1 {format_interval(one, 'P@1')}, P@3 {format_interval(one, 'P@3')} and τ {format_interval(one, 'tau')}"


def format_interval(one: Measurement, measure: str) -> str:
    return f"{one.mean[measure]:.3f} [{one.low[measure]:.3f}, {one.high[measure]:.3f}]"


def name_measure(measure: str) -> str:
    return "τ" if measure == "tau" else measure


def format_list(names: Sequence[str]) -> str:
    return "; ".join(names)


def format_table(head: Row, rows: Sequence[Row]) -> str:
    lines = [" | ".join(head), "|".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if place != 1 else f"|{line}|" for place, line in enumerate(lines))
