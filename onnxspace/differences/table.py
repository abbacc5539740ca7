"""The table of all layers: filtered, sorted, and written as CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from onnxspace.differences.result import COLUMNS, LayerRow
from onnxspace.storage.csv_text import format_csv

#: What rows can be sorted by: largest or worst first, except by their place in the graph.
SORTS: Mapping[str, Callable[[LayerRow], float]] = {
    "place": lambda row: row.place,
    "error": lambda row: -(row.relative_error or 0.0),
    "own-error": lambda row: -(row.own_error or 0.0),
    "max-error": lambda row: -(row.max_error or 0.0),
    "cosine": lambda row: 1.0 if row.cosine is None else row.cosine,
    "snr": lambda row: float("inf") if row.snr_db is None else row.snr_db,
    "overflow": lambda row: -(row.half_overflow or 0.0),
    "underflow": lambda row: -(row.half_underflow or 0.0),
    "saturated": lambda row: -(row.int8_saturated or 0.0),
    "range": lambda row: -max((abs(end) for end in row.old_range or ()), default=0.0),
}


def select_rows(
    rows: Sequence[LayerRow], sort: str = "place", *, statuses: Sequence[str] = (), match: str = ""
) -> list[LayerRow]:
    """Rows of some `statuses` (none: all) that have `match` in a name or operator, sorted by a key of SORTS.

    >>> select_rows([])
    []
    """
    kept = [row for row in rows if (not statuses or row.status in statuses) and _has(row, match.lower())]
    return sorted(kept, key=SORTS[sort])


def _has(row: LayerRow, text: str) -> bool:
    return any(text in name.lower() for name in (row.old, row.new, row.old_op, row.new_op))


def format_table(rows: Sequence[LayerRow]) -> str:
    """Rows as CSV with a heading; shapes and ranges are joined, empty cells are values that are not defined."""
    return format_csv([COLUMNS, *([_write_cell(value) for value in asdict(row).values()] for row in rows)])


def _write_cell(value: object) -> object:
    if isinstance(value, tuple):
        numbers = all(isinstance(one, int) for one in value)
        return "×".join(map(str, value)) if numbers else f"[{', '.join(f'{one:.6g}' for one in value)}]"
    return "" if value is None else value
