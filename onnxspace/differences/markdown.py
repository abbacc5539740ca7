"""What changed between two models as Markdown for a pull request. Names come from untrusted files, so they are escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from onnxspace.differences.result import STATUSES, LayerRow, ModelDiff

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_TITLES = {"same": "the same network", "rounding": "the same network, in lower precision", "differ": "the networks differ"}


def format_markdown(found: ModelDiff, rows: Sequence[LayerRow]) -> str:
    """The verdict, what was done, how many nodes became what, and `rows` of the table."""
    parts = [
        f"## {escape(found.old.name)} → {escape(found.new.name)}: {_TITLES[found.verdict]}",
        escape(found.summary),
        "\n".join(f"- {escape(change.text)}" for change in found.changes),
        _count_table(found),
        _layer_table(rows),
        f"Compared on {found.probe['images']} images ({escape(str(found.probe['name']))}).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _count_table(found: ModelDiff) -> str:
    counts = found.counts
    rows = [f"| {status} | {counts['old'][status]} | {counts['new'][status]} | {words} |" for status, words in STATUSES.items()
            if counts["old"][status] or counts["new"][status]]  # fmt: skip
    return "\n".join(["| nodes | old | new | |", "|---|---:|---:|---|", *rows])


def _layer_table(rows: Sequence[LayerRow]) -> str:
    if not rows:
        return ""
    head = ["| layer | operator | status | relative error | SNR (dB) | cosine |", "|---|---|---|---:|---:|---:|"]
    return "\n".join([*head, *map(_layer_line, rows)])


def _layer_line(row: LayerRow) -> str:
    numbers = ["" if value is None else f"{value:.4g}" for value in (row.relative_error, row.snr_db, row.cosine)]
    operator = row.new_op if row.old_op == row.new_op else f"{row.old_op} → {row.new_op}"
    return f"| {escape(row.new)} | {escape(operator)} | {row.status} | {' | '.join(numbers)} |"


def escape(text: str) -> str:
    """Escape Markdown and HTML, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False)).replace("@", "&#64;")
