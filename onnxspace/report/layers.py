"""Draw the scores of a source's layers against a target."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from onnxspace.scores.layer_table import LayerTable
from onnxspace.storage.printable import make_printable, shorten
from onnxspace.storage.short_text import describe_images


def draw_layers(found: LayerTable, path: Path) -> None:
    """Write a PNG to `path`: S_V, S_E and S of every layer, from image to output downwards, with the best layer marked."""
    count = len(found.layers)
    figure = Figure(figsize=(8.0, 2.2 + 0.26 * count), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(count)
    lines = (
        ("S_V: what counts in each image", [layer.nodes for layer in found.layers], "tab:blue", "o"),
        ("S_E: which images are similar", [_or_nan(layer.edges) for layer in found.layers], "tab:orange", "s"),
        (f"S = S_V + {found.weight:g} · S_E", [_or_nan(layer.score) for layer in found.layers], "black", "D"),
    )
    for label, values, color, marker in lines:
        axes.plot(values, places, color=color, marker=marker, markersize=4, linewidth=1.2, label=label)
    best = found.best
    if best is not None:
        axes.axhspan((at := found.layers.index(best)) - 0.5, at + 0.5, color="0.88", zorder=0)
    names = [f"{shorten(layer.tensor, 42)}  {layer.share_below:.0%}" for layer in found.layers]
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.set_ylim(count - 0.5, -0.5)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.grid(axis="x", color="0.9")
    axes.set_xlabel("score; beside each layer, the share of the work below it")
    title = f"Layers of {shorten(found.source.name, 36)} against {shorten(found.target.name, 36)}"
    method = make_printable(f"{found.method_words} on {describe_images(found.probe)}")
    figure.suptitle(f"{title}\n{method}", fontsize=10, parse_math=False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=110, format="png")


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
