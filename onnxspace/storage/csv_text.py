"""CSV whose names are untrusted: no cell is a formula of a spreadsheet, and none has characters that a terminal obeys."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from onnxspace.storage.printable import escape_surrogates

#: What makes a spreadsheet read a cell as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_QUOTE = "'"


def format_csv(rows: Iterable[Sequence[object]]) -> str:
    """Format rows as CSV. Text that a spreadsheet would compute gets an apostrophe in front; numbers stay as they are.

    >>> format_csv([["model", "value"], ["=1+1", "-0.5"]])
    "model,value\\n'=1+1,-0.5\\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_write_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def read_cell(cell: str) -> str:
    """The text of a cell that `format_csv` wrote: without the apostrophe before a formula.

    >>> read_cell("'=1+1"), read_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return cell[1:] if cell[:1] == _QUOTE and cell[1:].lstrip(_QUOTE).startswith(_FORMULA) else cell


def _write_cell(cell: object) -> object:
    if not isinstance(cell, str) or _is_number(cell):
        return cell
    clean = "".join(c if c.isprintable() else "?" for c in escape_surrogates(cell))
    return _QUOTE + clean if cell.lstrip(_QUOTE + " ").startswith(_FORMULA) else clean


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.isprintable() and "_" not in text
