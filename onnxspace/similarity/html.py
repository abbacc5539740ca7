"""HTML tables of affinities, for notebooks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_MOST = 60  # models; larger tables are cut off


def render_heat_table(
    title: str, names: Sequence[str], matrix: NDArray[np.float64], errors: NDArray[np.float64] | None = None
) -> str:
    """Render `matrix`, float64 [models, models], as an HTML table with darker cells for larger values, for up to 60 models.

    `title` and `names` are escaped. `errors` holds standard errors of the same shape (None: all are 0), shown where not 0.
    """
    shown = names[:_MOST]
    rows = "".join(
        f'<tr><th style="text-align:left">{i + 1} {escape(name)}</th>'
        + "".join(_render_cell(matrix[i, j], 0.0 if errors is None else errors[i, j]) for j in range(len(shown)))
        + "</tr>"
        for i, name in enumerate(shown)
    )
    head = "".join(f"<th>{number}</th>" for number in range(1, len(shown) + 1))
    rest = f"<p>and {len(names) - _MOST} more</p>" if len(names) > _MOST else ""
    return f"<table><caption>{escape(title)}</caption><tr><th></th>{head}</tr>{rows}</table>{rest}"


def _render_cell(value: float, error: float) -> str:
    strength = 0.0 if math.isnan(value) else max(0.0, min(1.0, float(value)))
    ink = "white" if strength > 0.6 else "black"
    text = "n/a" if math.isnan(value) else f"{round(float(value), 3) + 0.0:.3f}" + (f" ± {error:.3f}" if error else "")
    return f'<td style="background:rgba(33,80,140,{strength:.2f});color:{ink}">{text}</td>'


def render_ranked_table(title: str, sources: Sequence[tuple[str, float]]) -> str:
    """Render `sources` (names and values) in their order as an HTML table with darker cells for larger values."""
    rows = "".join(
        f'<tr><td>{place}</td><th style="text-align:left">{escape(name)}</th>{_render_cell(value, 0.0)}</tr>'
        for place, (name, value) in enumerate(sources[:_MOST], 1)
    )
    rest = f"<p>and {len(sources) - _MOST} more</p>" if len(sources) > _MOST else ""
    return f"<table><caption>{escape(title)}</caption>{rows}</table>{rest}"
