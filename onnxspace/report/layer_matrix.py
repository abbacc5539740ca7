"""Draw how similar the layers of two networks are: a panel per score, with the best partner of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from onnxspace.report.layer_names import shorten_layers
from onnxspace.scores.layer_matrix import LAYER_SCORES, LayerMatrix
from onnxspace.storage.printable import make_printable, shorten
from onnxspace.storage.short_text import describe_images

#: Inches of a cell, and points of the smallest and largest names.
_CELL, _LARGE_CELL, _FONTS = 0.17, 0.3, (7.0, 9.0)
_FEW = 16
#: Inches for names, titles and the legend.
_NAMES, _ABOVE, _BELOW, _BETWEEN = 2.0, 0.75, 0.95, 0.35
_LEAST = 2.8
#: Inches of a character for each point of its size, about the widest of the font.
_CHARACTER = 0.0085
_ROW = Line2D([], [], linestyle="", marker="o", markersize=4, markerfacecolor="white", markeredgecolor="black")
_COLUMN = Line2D([], [], linestyle="", marker="s", markersize=9, markerfacecolor="none", markeredgecolor="black")


def draw_layer_matrix(found: LayerMatrix, path: Path, kind: Literal["png", "svg"] = "png") -> None:
    """Write a PNG or SVG to `path`: rows are the source's layers, columns the target's, both from image to output."""
    high, wide, count = len(found.source_layers), len(found.target_layers), len(found.scores)
    cell = _LARGE_CELL if max(high, wide) <= _FEW else _CELL
    sides = max(cell * wide, _LEAST), max(cell * high, 1.0)
    font = _FONTS[1] if max(high, wide) <= _FEW else _FONTS[0]
    names = shorten_layers([layer.tensor for layer in found.target_layers])
    below = _BELOW + 0.2 + max(map(len, names)) * _CHARACTER * font
    width, height = _NAMES + count * (sides[0] + _BETWEEN), _ABOVE + sides[1] + below
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    for place, name in enumerate(found.scores):
        left = _NAMES + place * (sides[0] + _BETWEEN)
        axes = figure.add_axes((left / width, below / height, sides[0] / width, sides[1] / height))
        bar = figure.add_axes((left / width, 0.62 / height, sides[0] / width, 0.12 / height))
        _draw_panel(figure, axes, bar, found, name)
        _name_axes(axes, found, font, first=place == 0)
    title = f"Layers of {shorten(found.source.name, 36)} (rows) and {shorten(found.target.name, 36)} (columns)"
    images = make_printable(f"{describe_images(found.probe)}; both from image to output")
    figure.text(0.12 / width, 1 - 0.12 / height, title, fontsize=10, va="top", parse_math=False)
    figure.text(0.12 / width, 1 - 0.32 / height, images, fontsize=8.5, va="top", color="0.3", parse_math=False)
    figure.legend(
        [_ROW, _COLUMN], ["best column of a row", "best row of a column"], loc="lower left", bbox_to_anchor=(0.02, 0.0),
        ncols=2 if width > 4.5 else 1, fontsize=8, frameon=False, borderaxespad=0.1,
    )  # fmt: skip
    with rc_context({"svg.hashsalt": "onnxspace", "svg.image_inline": True, "svg.fonttype": "path"}):
        figure.savefig(path, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)


def _draw_panel(figure: Figure, axes: Any, bar: Any, found: LayerMatrix, name: str) -> None:
    colours = colormaps["viridis"].with_extremes(bad="0.85", under="#2a003b")
    matrix = found.scores[name]
    image = axes.imshow(matrix, cmap=colours, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    below = bool((matrix < 0).any())
    figure.colorbar(image, cax=bar, orientation="horizontal", extend="min" if below else "neither", extendfrac=0.03)
    bar.tick_params(labelsize=7, length=2, pad=1.5)
    title, meaning = LAYER_SCORES[name]
    axes.set_title(title, fontsize=9, loc="left", pad=4)
    bar.set_xlabel(meaning, fontsize=7, labelpad=2)
    rows, columns = found.find_partners(name)
    _mark(axes, [(column, row) for row, column in enumerate(rows) if column is not None], _ROW)
    _mark(axes, [(column, row) for column, row in enumerate(columns) if row is not None], _COLUMN)


def _mark(axes: Any, points: Sequence[tuple[int, int]], like: Line2D) -> None:
    """Draw marks of the form of `like` with a light and a dark edge, which are seen on every colour."""
    if not points:
        return
    x, y = np.array(points).T
    box, figure = axes.get_position(), axes.figure
    cell = 72 * min(
        box.height * figure.get_figheight() / abs(np.diff(axes.get_ylim())[0]),
        box.width * figure.get_figwidth() / abs(np.diff(axes.get_xlim())[0]),
    )
    style = {"linestyle": "", "marker": like.get_marker(), "markersize": cell * (0.35 if like is _ROW else 0.75)}
    for color, line in (("white", 1.8), ("black", 0.7)):
        axes.plot(x, y, markerfacecolor=like.get_markerfacecolor(), markeredgecolor=color, markeredgewidth=line, **style)


def _name_axes(axes: Any, found: LayerMatrix, font: float, *, first: bool) -> None:
    rows, columns = (
        shorten_layers([layer.tensor for layer in layers]) for layers in (found.source_layers, found.target_layers)
    )
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(range(len(rows)), rows if first else [""] * len(rows), fontsize=font, parse_math=False)
    axes.tick_params(length=2, pad=2)
