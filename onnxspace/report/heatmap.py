"""Draw the affinity matrix, ordered by its similarity tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram

from onnxspace.similarity.affinity import Affinity
from onnxspace.storage.printable import make_printable, shorten

_NUMBERS_UP_TO = 24
_NAMES_UP_TO = 80
_NAMES = {"attribution": "affinity"}


def draw_affinity(result: Affinity, path: Path) -> None:
    """Write a PNG to `path`: the average-linkage tree on 1 − affinity, above the matrix in the tree's order."""
    count = len(result.names)
    side = min(4.0 + 0.42 * count, 30.0)
    figure = Figure(figsize=(side + 1.5, side + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(1, 4), sharex=False)
    joined = dendrogram(result.tree(), ax=above, no_labels=True, color_threshold=0, above_threshold_color="0.35")
    _style_tree(above, result)
    order = [int(leaf) for leaf in joined["leaves"]]
    _draw_matrix(figure, below, result, order)
    figure.savefig(path, dpi=110)


def _style_tree(axes: Any, result: Affinity) -> None:
    for edge in ("top", "right", "bottom"):
        axes.spines[edge].set_visible(False)
    top = float(result.matrix.max())
    axes.set_ylabel(make_printable(f"1 − {_NAMES.get(result.by, result.by)}" + (f" / {top:.2f}" if top > 1.005 else "")))
    axes.set_title(make_printable(result.title), fontsize=10, parse_math=False)


def _draw_matrix(figure: Figure, axes: Any, result: Affinity, order: list[int]) -> None:
    values = result.matrix[np.ix_(order, order)]
    colours, low, high = choose_scale(values)
    drawn = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    if len(order) <= _NAMES_UP_TO:
        names = [shorten(result.names[i]) for i in order]
        axes.set_xticks(range(len(order)), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(len(order)), names, parse_math=False)
    if len(order) <= _NUMBERS_UP_TO:
        _write_numbers(axes, values, drawn)
    figure.colorbar(drawn, ax=axes, label=_label(result), fraction=0.05)


def _label(result: Affinity) -> str:
    return "affinity (mean cosine of maps)" if result.by in _NAMES else make_printable(result.by)


def _write_numbers(axes: Any, values: np.ndarray[Any, Any], drawn: Any) -> None:
    light = drawn.cmap(drawn.norm(values))[..., :3] @ (0.299, 0.587, 0.114) > 0.5
    for (row, column), value in np.ndenumerate(values):
        color = "black" if light[row, column] else "white"
        axes.text(column, row, f"{round(float(value), 2) + 0.0:.2f}", ha="center", va="center", color=color, fontsize=8)


def choose_scale(values: np.ndarray[Any, Any]) -> tuple[str, float, float]:
    """The colour map of a matrix and the values at its ends: centred at 0 where some value is negative.

    >>> choose_scale(np.array([[1.0, -0.2], [-0.2, 1.0]]))
    ('RdBu_r', -1.0, 1.0)
    >>> choose_scale(np.array([[1.0, 0.2], [0.2, 1.0]]))
    ('viridis', 0.0, 1.0)
    """
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    bound = max(-low, high)
    return ("RdBu_r", -bound, bound) if low < 0 else ("viridis", low, high)
