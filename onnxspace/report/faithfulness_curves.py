"""Draw the curves of faithfulness: deletion, insertion and randomisation of weights, a row of panels per model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from onnxspace.evaluation.faithfulness.chance import CHANCE
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.randomisation import UNCHANGED
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.storage.printable import make_printable, shorten

#: Okabe and Ito's colour-blind-safe palette without yellow; line styles distinguish the methods after these.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", (0, (1, 1)))
_WIDTH, _ROW, _LEGEND, _DPI = 11.0, 2.9, 0.3, 112
_MOST_ROWS = 20


def draw_faithfulness(found: Faithfulness, path: Path) -> None:
    """Write the mean curves of each model to `path` as a PNG; of many models the first 20. Raises OSError.

    >>> draw_faithfulness(found, Path("curves.png"))  # doctest: +SKIP
    """
    models = found.models[:_MOST_ROWS]
    names = tuple(dict.fromkeys([*(name for model in models for name in model.methods), *CHANCE]))
    lines = -(-len(names) // 5)
    figure = Figure(figsize=(_WIDTH, _ROW * len(models) + _LEGEND * (1 + lines)), layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(models), 3, squeeze=False)
    for row, model in zip(panels, models, strict=True):
        _draw_removal(row[0], model, "deletion", "share of pixels deleted", names)
        _draw_removal(row[1], model, "insertion", "share of pixels inserted", names)
        _draw_cascade(row[2], model, names)
        row[0].set_ylabel(make_printable(shorten(model.title, 40)), fontsize=9, parse_math=False)
    handles = [Line2D([], [], **_style(place, name)) for place, name in enumerate(names)]
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(path, format="png", dpi=_DPI)


def _style(place: int, name: str) -> dict[str, Any]:
    if name in CHANCE:
        return {"color": "0.45" if name == CHANCE[0] else "0.7", "linestyle": (0, (4, 2)), "linewidth": 1.2}
    style = _STYLES[place // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[place % len(_COLOURS)], "linestyle": style, "linewidth": 1.4}


def _draw_removal(axes: Any, model: ModelFaithfulness, measure: str, words: str, names: Sequence[str]) -> None:
    _format_axes(axes, f"{measure}: {_shorten_words(model.followed)}", words)
    if measure not in model.curves:
        return
    curves = model.mean_curves(measure)
    for name, curve in zip(model.rows, curves, strict=True):
        axes.plot(np.linspace(0, 1, len(curve)), curve, **_style(names.index(name), name))


def _shorten_words(followed: str) -> str:
    return next((word for word in ("cosine", "probability") if word in followed), "explained value")


def _draw_cascade(axes: Any, model: ModelFaithfulness, names: Sequence[str]) -> None:
    _format_axes(axes, "rank correlation with the map", "last layers randomised")
    axes.axhline(UNCHANGED, color="0.8", linewidth=0.8)
    where = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
    axes.text(1, UNCHANGED, "above, a map counts as unchanged", fontsize=7, color="0.4", **where)
    if model.randomisation is None:
        return
    for name, curve in zip(model.methods, model.randomisation.mean_cascade(), strict=True):
        axes.plot((0, *model.randomisation.layers), (1.0, *curve), **_style(names.index(name), name))


def _format_axes(axes: Any, title: str, words: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(words, fontsize=8)
    axes.tick_params(labelsize=8)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
