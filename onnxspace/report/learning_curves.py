"""The picture of a ranking by fine-tuning: results with their intervals, and learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onnxspace.scores.finetuned import FineTunedModel, FineTuneRanking
from onnxspace.storage.printable import make_printable, shorten
from onnxspace.storage.short_text import count

PICTURES = (".png", ".svg")
RESULTS = {"classes": "accuracy", "answers": "agreement", "multilabel": "labels right", "regression": "R²"}
#: Okabe and Ito's palette, for the first models; the others are grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_GREY = "0.7"
_MOST_MODELS = 60


def draw_learning_curves(found: FineTuneRanking, path: Path, kind: str) -> None:
    """Draw a ranking to `path`: results on held-out images by place, and their course over epochs.

    `kind` is `png` or `svg`. Of more than 60 models the first 60 are drawn. Raises OSError where the file can't be written.

    >>> draw_learning_curves(ranking, Path("curves.png"), "png")  # doctest: +SKIP
    """
    shown = found.models[:_MOST_MODELS]
    figure = Figure(figsize=(11, 1.8 + 0.24 * max(8, len(shown))), layout="constrained")
    FigureCanvasAgg(figure)
    places, curves = figure.subplots(1, 2)
    _draw_places(places, shown, found)
    _draw_curves(curves, shown, found)
    name = make_printable(str(found.data["name"]))
    figure.suptitle(f"{name}, {count(found.data['images'], 'image')}: held-out images after fine-tuning", parse_math=False)
    with rc_context({"svg.hashsalt": "onnxspace", "svg.fonttype": "path"}):
        figure.savefig(path, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {})


def _draw_places(axes: Any, shown: tuple[FineTunedModel, ...], found: FineTuneRanking) -> None:
    """A dot and a 95 % interval for each model, the best at the top; brackets are set apart by bands."""
    rows = np.arange(len(shown))
    for row, model in zip(rows, shown, strict=True):
        axes.plot([model.low, model.high], [row, row], color=_colour(model), linewidth=1.5)
        axes.plot(model.result, row, "o", color=_colour(model), markersize=5)
        if model.bracket % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
    axes.axvline(found.constant, color="black", linestyle=":", label="a constant answer")
    axes.set_yticks(rows, [shorten(make_printable(m.record.name), 40) for m in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"{RESULTS[found.task]}, 95 % intervals; bands: brackets")
    axes.legend(loc="best", frameon=False)


def _draw_curves(axes: Any, shown: tuple[FineTunedModel, ...], found: FineTuneRanking) -> None:
    """The mean result over folds after each stage; the first five models in colour, in the order of their places."""
    for model in reversed(shown):
        epochs = sorted({point.epochs for point in model.curve})
        means = [np.mean([p.result for p in model.curve if p.epochs == epoch]) for epoch in epochs]
        name = shorten(make_printable(model.record.name), 30) if model.place <= len(_COLOURS) else None
        axes.plot(epochs, means, "o-", color=_colour(model), markersize=3.5, linewidth=1.5, label=name)
    axes.axhline(found.constant, color="black", linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epochs")
    axes.set_ylabel(RESULTS[found.task])
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="best", frameon=False)


def _colour(model: FineTunedModel) -> str:
    return _COLOURS[model.place - 1] if model.place <= len(_COLOURS) else _GREY
