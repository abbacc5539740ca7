"""Pictures of curves: measures over K, the number of images, a weight, and the numbers of a fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from models.minitaskonomy.page.results import Key, Results
from models.minitaskonomy.page.style import COLOURS, choose_style, new_figure, save_figure, style_axes
from models.minitaskonomy.study.jobs import AFFINITY
from onnxspace.evaluation import Evaluation, Table, evaluate


def evaluate_keys(found: Results, keys: Sequence[tuple[str, Key]], sources: NDArray[np.bool_]) -> Evaluation:
    """The tool's own evaluation of some matrices, by their names in a legend."""
    names = tuple(np.array(found.sources)[sources])
    targets = tuple(found.targets)
    truth = Table("oracle", "oracle.csv", targets, names, found.oracle.mean[:, sources])
    tables = [Table(label, "scores.csv", targets, names, found.values[key][:, sources]) for label, key in keys]
    return evaluate(truth, tables, draws=200)


def draw_curves(found: Results, panels: Sequence[tuple[str, Sequence[tuple[str, Key]]]], path: Path) -> None:
    """P@K: a panel per list of scores, with the oracle, one seed of it, and a random order in each."""
    made = new_figure(6.2 * len(panels), 7.4)
    for axes, (title, keys) in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        result = evaluate_keys(found, keys, found.main)
        ks = np.arange(1, len(result.best.precision) + 1)
        axes.plot(ks, result.best.precision, color="0.2", linestyle=(0, (1, 1.5)), label="oracle")
        axes.plot(ks, result.random.precision, color="0.5", linestyle=(0, (5, 2)), label="random order")
        for place, one in enumerate(result.scored):
            axes.plot(ks, one.measures["precision"].mean, label=one.name, **choose_style(place))
        _draw_ceiling(axes, found)
        axes.set_xlabel("K, sources taken")
        axes.set_ylabel("P@K: share of the K that are among the target's 5 best")
        axes.set_title(title, fontsize=10)
        axes.set_ylim(0, 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style_axes(axes)
        axes.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.11), frameon=False)
    save_figure(made, path)


def _draw_ceiling(axes: Any, found: Results) -> None:
    if one := found.last("oracle of one seed"):
        shares = [one.mean[name] for name in ("P@1", "P@3", "P@5")]
        axes.plot((1, 3, 5), shares, color="0.2", marker="_", markersize=11, linestyle="none", label="one seed of the oracle")


def draw_by_images(found: Results, shown: Sequence[tuple[str, str]], path: Path) -> None:
    """P@3 and weighted tau over the number of images: a colour per score, a row of panels per measure, a column per probe set."""
    made = new_figure(5.4 * len(found.probes), 7.4)
    grid = made.subplots(2, len(found.probes), squeeze=False, sharey="row", sharex=True)
    for row, (measure, name) in enumerate((("P@3", "P@3"), ("tau", "weighted τ"))):
        for column, probe in enumerate(found.probes):
            axes = grid[row, column]
            for place, (score, options) in enumerate(shown):
                lines = found.find(score, options, probe)
                label = f"{score}, {options}" if options else score
                axes.plot(
                    [one.images for one in lines], [one.mean[measure] for one in lines], label=label, **choose_style(place)
                )
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:.0f}")
            axes.set_ylabel(f"{name}, mean over targets")
            style_axes(axes)
            if row == 0:
                axes.set_title(f"probe images: {probe}", fontsize=10)
            else:
                axes.set_xlabel("probe images")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    save_figure(made, path)


def draw_by_weight(found: Results, path: Path) -> None:
    """DEPARA over λ; λ = 0 is its maps alone."""
    made = new_figure(10.5, 5.0)
    for axes, (measure, name) in zip(made.subplots(1, 2), (("P@3", "P@3"), ("tau", "weighted τ")), strict=True):
        place = 0
        for probe in found.probes:
            for images in sorted({one.images for one in found.measures if one.score == "depara" and one.probe == probe}):
                points = [(0.01, one) for one in found.find("gradient-x-input", "", probe) if one.images == images]
                points += [
                    (float(one.options[2:]), one) for one in found.measures
                    if one.score == "depara" and one.probe == probe and one.images == images and one.group == "tasks"
                    and one.options.startswith("λ ") and one.options[2:].replace(".", "").isdigit()
                ]  # fmt: skip
                points.sort(key=lambda point: point[0])
                label = f"{images} {probe}"
                axes.plot([x for x, _ in points], [one.mean[measure] for _, one in points], label=label, **choose_style(place))
                place += 1
        axes.set_xscale("log")
        axes.set_xticks([0.01, 0.03, 0.1, 0.25, 1, 4, 10], ["0", ".03", ".1", ".25", "1", "4", "10"])
        axes.minorticks_off()
        axes.set_xlabel("λ, weight of the features (0: gradient × input alone)")
        axes.set_ylabel(f"{name}, mean over targets")
        style_axes(axes)
    handles, labels = axes.get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9, title="probe images", frameon=False)
    save_figure(made, path)


def draw_fingerprints(found: Results, path: Path) -> None:
    """P@3 and weighted tau over numbers per image, with what the exact affinity has, and the error."""
    rows = [row for row in found.fingerprints if row["numbers"] != "exact"]
    exact = next(row for row in found.fingerprints if row["numbers"] == "exact")
    rows.sort(key=lambda row: int(row["numbers"]))
    numbers = [int(row["numbers"]) for row in rows]
    made = new_figure(10.5, 4.0)
    left, right = made.subplots(1, 2)
    for place, (measure, name) in enumerate((("P@3", "P@3"), ("tau", "weighted τ"))):
        left.plot(numbers, [float(row[measure]) for row in rows], label=name, **choose_style(place))
        left.axhline(float(exact[measure]), color=COLOURS[place], linestyle=(0, (5, 2)), linewidth=1.2, label=f"{name}, exact")
    left.set_ylabel("mean over targets")
    right.plot(numbers, [float(row["error"]) for row in rows], label="found", **choose_style(2))
    images = max(one.images for one in found.measures if one.score == AFFINITY)
    bound = [1 / np.sqrt(images * k) for k in numbers]
    right.plot(numbers, bound, color="0.4", linestyle=(0, (5, 2)), label=f"1 / √({images} k)")
    right.set_yscale("log")
    right.set_ylabel("error of the affinity, root mean square")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("k, numbers per image")
        style_axes(axes)
        axes.legend(fontsize=8.5)
    save_figure(made, path)
