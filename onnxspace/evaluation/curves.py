"""Plots of an evaluation as PNG or SVG: precision, recall and correlations; priorities; trees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import dendrogram

from onnxspace.evaluation.result import Evaluation, Scored
from onnxspace.storage.printable import make_printable, shorten
from onnxspace.storage.short_text import count

#: Okabe and Ito's colour-blind-safe palette, without yellow; markers distinguish the rankings as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "black")
_MARKERS = "osD^vPX"
_STYLES = ("-", "--", "-.")
_MOST_BANDS = 2
_NAMED = {"weighted_tau": "weighted τ", "kendall_tau": "Kendall τ", "spearman": "Spearman ρ"}
_MOST_NAMES = 60


def draw_curves(found: Evaluation, path: Path, kind: str) -> None:
    """Draw P@K and R@K with the random and the oracle's curve, and the rank correlations, to `path`.

    `kind` is `png` or `svg`. Bands and bars are the intervals over targets; bands are omitted where there are more than two
    rankings. Raises OSError where the file can't be written.
    """
    rows = max(3, len(found.scored))
    figure = Figure(figsize=(12.5, 4.6 + 0.22 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg, unused-ignore]
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 1))
    for axes, name, what in ((left, "precision", "P@K"), (middle, "recall", "R@K")):
        _draw_bounds(axes, getattr(found.best, name), getattr(found.random, name))
        for place, one in enumerate(found.scored):
            _draw_curve(axes, place, one, name, band=len(found.scored) <= _MOST_BANDS)
        _format_axes(axes, what, len(found.best.precision))
    _draw_correlations(right, found.scored)
    figure.suptitle(_title(found), fontsize=10, parse_math=False)
    _draw_legend(figure, found.scored)
    _save(figure, path, kind)


def _title(found: Evaluation) -> str:
    fewest, most = min(map(len, found.candidates)), max(map(len, found.candidates))
    many = f"{most}" if fewest == most else f"{fewest} to {most}"
    name = make_printable(Path(found.oracle).name)
    return (
        f"{name}: {count(len(found.targets), 'target')}, {many} candidates each, the best {found.relevant} relevant; "
        f"bars and bands: {100 * found.level:g} % intervals"
    )


def _style(place: int) -> dict[str, Any]:
    count = len(_COLOURS)
    return {
        "color": _COLOURS[place % count], "marker": _MARKERS[place % count], "markersize": 4.5, "linewidth": 1.5,
        "linestyle": _STYLES[place // count % len(_STYLES)],
    }  # fmt: skip


def _draw_bounds(axes: Any, best: Any, random: Any) -> None:
    ks = np.arange(1, len(best) + 1)
    axes.plot(ks, best, color="0.25", linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=3)
    axes.plot(ks, random, color="0.5", linewidth=1.2, linestyle=(0, (5, 2)))


def _draw_curve(axes: Any, place: int, one: Scored, name: str, *, band: bool) -> None:
    measure = one.measures[name]
    ks = np.arange(1, len(measure.mean) + 1)
    axes.plot(ks, measure.mean, markevery=max(1, len(ks) // 25), **_style(place))
    if band:
        axes.fill_between(ks, measure.low, measure.high, color=_COLOURS[place % len(_COLOURS)], alpha=0.15, linewidth=0)


def _format_axes(axes: Any, what: str, longest: int) -> None:
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0.5, longest + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("K, sources taken")
    axes.set_ylabel(f"{what}, mean over targets")
    _hide_frame(axes)


def _hide_frame(axes: Any, grid: str = "both") -> None:
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    axes.grid(axis=grid, color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def _draw_correlations(axes: Any, scored: Sequence[Scored]) -> None:
    """Draw a group of rows per measure, with a row per ranking: the mean and its interval."""
    count, lowest = len(scored), 0.0
    for group, name in enumerate(_NAMED):
        for place, one in enumerate(scored):
            measure = one.measures[name]
            mean, low, high = (float(values[0]) for values in (measure.mean, measure.low, measure.high))
            lowest = min(lowest, low)
            style = _style(place) | {"linestyle": "none", "markersize": 6}
            row = group + (place - (count - 1) / 2) * 0.7 / max(count, 2)
            axes.plot([low, high], [row, row], color=style["color"], linewidth=1.5)
            axes.plot([mean], [row], **style)
    axes.axvline(0, color="0.5", linewidth=1.2, linestyle=(0, (5, 2)))
    axes.set_yticks(range(len(_NAMED)), list(_NAMED.values()))
    axes.set_ylim(len(_NAMED) - 0.5, -0.5)
    axes.set_xlim(min(-0.1, lowest - 0.05), 1.03)
    axes.set_xlabel("rank correlation, mean over targets")
    _hide_frame(axes, "x")


def _draw_legend(figure: Figure, scored: Sequence[Scored]) -> None:
    handles = [Line2D([], [], **_style(place)) for place in range(len(scored))]
    handles += [Line2D([], [], color="0.25", linestyle=(0, (1, 1.5))), Line2D([], [], color="0.5", linestyle=(0, (5, 2)))]
    labels = [_label(one.name) for one in scored] + ["oracle", "random"]
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _label(name: str) -> str:
    """The shortened name; matplotlib omits labels that begin with an underscore, so these get a space in front."""
    label = shorten(name)
    return f" {label}" if label.startswith("_") else label


def draw_priorities(found: Evaluation, path: Path, kind: str) -> None:
    """Draw the correlation–priority curve of each ranking and of the oracle to `path`; `kind` is `png` or `svg`.

    Without correlations it draws the priorities against those of the oracle. Raises OSError where the file can't be written.
    """
    shown = found.priorities
    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    correlated = any(np.isfinite(one.correlations).any() for one in shown.values())
    truth = dict(zip(shown["oracle"].sources, shown["oracle"].priorities, strict=True))
    for place, one in enumerate(found.scored):
        mine = shown[one.name]
        style = _style(place) | ({} if correlated else {"linestyle": "none"})
        points = mine.curve() if correlated else ([truth[source] for source in mine.sources], mine.priorities)
        axes.plot(*points, **style)
    if correlated:
        axes.plot(*shown["oracle"].curve(), color="0.25", linewidth=1.5, linestyle=(0, (1, 1.5)), marker=".")
        axes.set_xlabel("priority of a source: its mean rank over targets, 1 is first")
        axes.set_ylabel("mean representation correlation with the targets")
    else:
        ends = [min(truth.values()), max(truth.values())]
        axes.plot(ends, ends, color="0.25", linewidth=1.2, linestyle=(0, (1, 1.5)))
        axes.set_xlabel("mean rank of a source over targets, in the oracle")
        axes.set_ylabel("mean rank of the same source, as predicted")
    _hide_frame(axes)
    bare = {} if correlated else {"linestyle": "none"}
    handles = [Line2D([], [], **(_style(place) | bare)) for place in range(len(found.scored))]
    handles.append(Line2D([], [], color="0.25", linestyle=(0, (1, 1.5))))
    legend = axes.legend(
        handles, [*(_label(one.name) for one in found.scored), "oracle" if correlated else "equal"], frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path, kind)


def draw_trees(found: Evaluation, path: Path, kind: str) -> None:
    """Draw the similarity trees of the rankings that have one, side by side, to `path`; `kind` is `png` or `svg`.

    Raises OSError where the file can't be written.
    """
    most = max(len(names) for names, _ in found.trees.values())
    count = len(found.trees)
    figure = Figure(figsize=(min(5.5 * count, 40.0), min(1.6 + 0.24 * most, 30.0)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, (models, joined)) in zip(figure.subplots(1, count, squeeze=False)[0], found.trees.items(), strict=True):
        drawn = dendrogram(joined, ax=axes, orientation="left", no_labels=True, color_threshold=0, above_threshold_color="0.35")
        if len(models) <= _MOST_NAMES:
            labels = [shorten(models[leaf]) for leaf in drawn["leaves"]]
            axes.set_yticks([10 * i + 5 for i in range(len(labels))], labels, fontsize=8, parse_math=False)
        axes.yaxis.tick_right()
        axes.tick_params(axis="y", length=0)
        for edge in ("top", "left", "right"):
            axes.spines[edge].set_visible(False)
        axes.set_title(shorten(name, 40), fontsize=10, parse_math=False)
        axes.set_xlabel("1 − affinity (average linkage)" if found.linkage == "average" else "distance of rows (single linkage)")
    _save(figure, path, kind)


def _save(figure: Figure, path: Path, kind: str) -> None:
    """Save reproducibly: without a date or random identifiers, so that equal evaluations give equal bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "onnxspace"}):
        figure.savefig(path, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
