"""HTML tables of results, for notebooks; all texts are escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from onnxspace.storage.printable import make_printable

_MOST = 60  # models; larger tables are cut off
_LEFT = ' style="text-align:left"'


class Cell(str):
    """A table cell that is HTML already; other cells are text."""

    __slots__ = ()


def render_heat_table(
    title: str, names: Sequence[str], matrix: NDArray[np.float64], errors: NDArray[np.float64] | None = None
) -> str:
    """Render `matrix`, float64 [models, models], as an HTML table with darker cells for larger values, for up to 60 models.

    Negative values are red, positive ones blue. `errors` holds standard errors of the same shape (None: all are 0), shown where not 0.
    """
    shown, limit = range(min(len(names), _MOST)), find_limit(matrix)
    rows = [
        (f"{i + 1} {names[i]}", *(render_cell(matrix[i, j], 0.0 if errors is None else errors[i, j], limit) for j in shown))
        for i in shown
    ]
    return render_table(title, ("", *(str(number + 1) for number in shown)), rows, len(names))


def find_limit(values: NDArray[np.float64]) -> float:
    """The value whose cell is darkest: the largest magnitude, and 1 for values that are at most 1."""
    known = np.abs(values[~np.isnan(values)])
    return max(1.0, float(known.max(initial=0.0)))


def render_cell(value: float | None, error: float = 0.0, limit: float = 1.0) -> Cell:
    """Render a number with three decimals and its standard error, on a ground that is darker the nearer it is to `limit`."""
    known = value is not None and not math.isnan(value)
    share = max(-1.0, min(1.0, float(value or 0.0) / limit)) if known else 0.0
    ground = "33,80,140" if share >= 0 else "178,24,43"
    ink = "white" if abs(share) > 0.6 else "black"
    text = f"{round(float(value or 0.0), 3) + 0.0:.3f}" + (f" ± {error:.3f}" if error else "") if known else "n/a"
    return Cell(f'<td style="background:rgba({ground},{abs(share):.2f});color:{ink}">{text}</td>')


def render_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], total: int | None = None) -> str:
    """Render a table of texts and of `Cell`s; `total` counts all rows (None: these), of which 60 are shown.

    >>> render_table("sizes", ("name", "bytes"), [("<a>", "3")])
    '<table><caption>sizes</caption><tr><th>name</th><th>bytes</th></tr><tr><th style="text-align:left">&lt;a&gt;</th><td style="text-align:left">3</td></tr></table>'
    """
    head = "".join(f"<th>{_clean(column)}</th>" for column in columns)
    body = "".join(f"<tr>{_render_row(row)}</tr>" for row in rows[:_MOST])
    more = (len(rows) if total is None else total) - min(len(rows), _MOST)
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    return f"<table><caption>{_clean(caption)}</caption><tr>{head}</tr>{body}</table>{rest}"


def _render_row(row: Sequence[str]) -> str:
    first, *others = row
    cells = (cell if isinstance(cell, Cell) else f"<td{_LEFT}>{_clean(cell)}</td>" for cell in others)
    return f"<th{_LEFT}>{_clean(first)}</th>{''.join(cells)}"


def render_notes(*notes: str) -> str:
    """Render sentences as paragraphs; an empty one has none.

    >>> render_notes("Evidence: none", "")
    '<p>Evidence: none</p>'
    """
    return "".join(f"<p>{_clean(note)}</p>" for note in notes if note)


def _clean(text: str) -> str:
    return escape(make_printable(text))
