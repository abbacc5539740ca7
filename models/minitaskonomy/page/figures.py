"""Pictures of docs/minitaskonomy.md: the oracle, similarity trees, and rooms with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from models.minitaskonomy.page import clustering
from models.minitaskonomy.page.results import Results
from models.minitaskonomy.page.style import new_figure, save_figure
from models.minitaskonomy.tasks import OBJECTS, SCENES, TASKS

Values = NDArray[np.float64]
GROUPS = {"2D": "#0072B2", "3D": "#D55E00", "geometry": "#E69F00", "semantic": "#009E73"}


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
