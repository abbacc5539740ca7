"""The text that `onnxspace diff` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import one_line, wrap

if TYPE_CHECKING:
    from onnxspace.differences.result import LayerRow, ModelDiff

#: Columns of a line, and of the name at its end.
_WIDTH, _NAME = 80, 20
_SHORT = {"downstream": "downstr.", "replaced": "replaced", "departs": "DEPARTS"}


def report_lines(found: ModelDiff, rows: Sequence[LayerRow], top: int) -> Iterator[str]:
    """The verdict, what was done, the number of nodes by what became of them, and the first `top` of `rows`."""
    yield from wrap(one_line(f"{found.old.name} → {found.new.name}"), rest="  ")
    yield from wrap(one_line(found.summary))
    for change in found.changes:
        yield from wrap(one_line(change.text), "- ", "  ")
    yield ""
    yield from _count_lines(found)
    if rows and top:
        yield ""
        yield from _table_lines(rows, top)


def _count_lines(found: ModelDiff) -> Iterator[str]:
    from onnxspace.differences.result import STATUSES

    counts = found.counts
    yield f"  {'nodes':<10} {'old':>6} {'new':>6}"
    for status, words in STATUSES.items():
        if counts["old"][status] or counts["new"][status]:
            yield f"  {status:<10} {counts['old'][status]:>6} {counts['new'][status]:>6}  {words}"[:_WIDTH]


def _table_lines(rows: Sequence[LayerRow], top: int) -> Iterator[str]:
    yield f"  {'status':<8} {'operator':<13} {'rel.error':>9} {'SNR dB':>6} {'cosine':>7} {'max.err':>8}  layer"
    for row in rows[:top]:
        yield _table_line(row)
    if len(rows) > top:
        yield f"  {len(rows) - top} more; --top N prints more of them, --csv FILE writes all."


def _table_line(row: LayerRow) -> str:
    status = _SHORT.get(row.status, row.status)
    numbers = (
        f"{_format(row.relative_error, '.2g'):>9} {_format(row.snr_db, '.1f'):>6} {_format(row.cosine, '.4f'):>7} "
        f"{_format(row.max_error, '.2g'):>8}"
    )
    return f"  {status:<8} {one_line(row.new_op)[:13]:<13} {numbers}  {_end(one_line(row.new))}"


def _format(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _end(name: str) -> str:
    """The end of a long name, which tells it from others."""
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
