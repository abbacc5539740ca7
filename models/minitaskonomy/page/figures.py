"""The pictures of docs/minitaskonomy.md, from the study's tables; on white, so that they read on dark pages too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from models.minitaskonomy.page import clustering
from models.minitaskonomy.page.results import Key, Measurement, Results
from models.minitaskonomy.study.jobs import AFFINITY
from models.minitaskonomy.tasks import OBJECTS, SCENES, TASKS
from onnxspace.evaluation import Evaluation, Table, evaluate

Values = NDArray[np.float64]
#: Okabe and Ito's colours, told apart by colour-blind readers too; line styles and markers say the same again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = "osD^vPX*"
GROUPS = {"2D": "#0072B2", "3D": "#D55E00", "geometry": "#E69F00", "semantic": "#009E73"}


def new_figure(width: float, height: float) -> Figure:
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def save_figure(made: Figure, path: Path) -> None:
    """Without a date, so that equal tables give equal bytes."""
    made.savefig(path, dpi=110, metadata={"Software": None})


def style_axes(axes: Any) -> None:
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def choose_style(place: int) -> dict[str, Any]:
    """Eight colours, then the same ones dashed with other markers."""
    marker, style = MARKERS[(place + place // 8) % 8], ("-", "--")[place // 8 % 2]
    return {"color": COLOURS[place % 8], "marker": marker, "linestyle": style, "markersize": 4.5, "linewidth": 1.5}


def draw_oracle(found: Results, path: Path) -> None:
    """What each target gets from each source: 1 is its best source, 0 its worst."""
    values = found.oracle.mean
    low, high = np.nanmin(values, axis=1, keepdims=True), np.nanmax(values, axis=1, keepdims=True)
    made = new_figure(3.2 + 0.31 * len(found.sources), 2.6 + 0.3 * len(found.targets))
    axes = made.subplots()
    drawn = axes.imshow((values - low) / (high - low), cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor("0.85")
    axes.set_xticks(range(len(found.sources)), found.sources, rotation=60, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(found.targets)), found.targets, fontsize=9)
    for label in [*axes.get_yticklabels(), *axes.get_xticklabels()]:
        label.set_color(GROUPS[TASKS[label.get_text().partition("-")[0]].group])
    groups = [TASKS[name].group for name in found.targets]
    for place in (i for i in range(1, len(groups)) if groups[i] != groups[i - 1]):
        axes.axhline(place - 0.5, color="white", linewidth=1.5)
        axes.axvline(place - 0.5, color="white", linewidth=1.5)
    if len(found.sources) > len(found.targets):
        axes.axvline(len(found.targets) - 0.5, color="black", linewidth=2)
    axes.set_xlabel("source: whose encoder is kept")
    axes.set_ylabel("target: which task is learnt on top")
    made.colorbar(drawn, ax=axes, label="1 − loss, from the target's worst source (0) to its best (1)", fraction=0.03)
    save_figure(made, path)


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
    made = new_figure(10.5, 4.3)
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
        axes.legend(fontsize=8.5, title="probe images", title_fontsize=8.5)
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


def draw_trees(found: Results, shown: Sequence[tuple[str, Values]], path: Path) -> None:
    """Similarity trees of the tasks, side by side, names in the colours of their groups."""
    made = new_figure(4.4 * len(shown), 5.2)
    for axes, (title, values) in zip(made.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        drawn = dendrogram(
            clustering.link(values), ax=axes, orientation="left", no_labels=True, color_threshold=0, above_threshold_color="0.35"
        )  # fmt: skip
        names = [found.targets[leaf] for leaf in drawn["leaves"]]
        axes.yaxis.tick_right()
        axes.set_yticks([10 * i + 5 for i in range(len(names))], names, fontsize=9)
        for label in axes.get_yticklabels():
            label.set_color(GROUPS[TASKS[label.get_text()].group])
        axes.tick_params(axis="y", length=0)
        for edge in ("top", "left", "right"):
            axes.spines[edge].set_visible(False)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("1 − likeness, average linkage")
    save_figure(made, path)


def draw_rooms(opened: Any, path: Path, count: int = 4) -> None:
    """A few rooms with the labels of all tasks."""
    pictures = np.asarray(opened.images()[:count])
    rows: list[tuple[str, list[Any]]] = [("picture", list(pictures))]
    for name, task in TASKS.items():
        if name in ("autoencoding", "denoising", "inpainting"):
            values = np.asarray(opened.inputs(task)[:count]).transpose(0, 2, 3, 1)
            if name != "autoencoding":
                rows.append((f"{name}\n(its input)", list(values)))
        else:
            rows.append((name, _prepare_cells(name, task.kind, np.asarray(opened.targets(task)[:count]))))
    half = (len(rows) + 1) // 2
    made = new_figure(2 * (1.05 + 0.92 * count), 0.93 * half)
    grid = made.subplots(half, 2 * count, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.axis("off")
    for place, (name, cells) in enumerate(rows):
        block, row = divmod(place, half)
        for column, cell in enumerate(cells):
            _draw_cell(grid[row, block * count + column], cell)
        first = grid[row, block * count]
        first.text(-0.08, 0.5, name, transform=first.transAxes, ha="right", va="center", fontsize=8.5)
    save_figure(made, path)


def _draw_cell(axes: Any, cell: Any) -> None:
    if isinstance(cell, str):
        axes.text(0.5, 0.5, cell, transform=axes.transAxes, ha="center", va="center", fontsize=7, linespacing=1.25)
    elif cell.dtype.kind == "i":
        axes.imshow(cell, cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
    else:
        axes.imshow(cell, cmap="viridis", interpolation="nearest")


def _prepare_cells(name: str, kind: str, values: NDArray[Any]) -> list[Any]:
    """A task's labels as pictures, or in words."""
    if kind == "classes":
        words = {"object": OBJECTS, "scene": SCENES}.get(name)
        return [
            words[int(value)].replace(" ", "\n") if words and 0 <= value < len(words) else str(int(value)) for value in values
        ]
    if kind == "vector":
        return ["\n".join(" ".join(f"{v:+.1f}" for v in row[i : i + 3]) for i in range(0, len(row), 3)) for row in values]
    if kind == "pixel classes":
        return list(values.astype(np.int64))
    moved = np.moveaxis(values.astype(np.float64), 1, -1)
    low, high = np.quantile(moved, [0.02, 0.98], axis=(0, 1, 2))
    scaled = ((moved - low) / np.maximum(high - low, 1e-9)).clip(0, 1)
    if scaled.shape[-1] == 2:
        scaled = np.concatenate([scaled, np.full((*scaled.shape[:-1], 1), 0.5)], axis=-1)
    return list(scaled if scaled.shape[-1] == 3 else scaled.mean(axis=-1))


def format_name(one: Measurement) -> str:
    """A line of measures.csv, for a legend."""
    return f"{one.label} ({one.images} {one.probe})" if one.images else one.label
