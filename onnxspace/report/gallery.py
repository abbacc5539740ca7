"""Draw images beside their maps: a row per image, a column per model and method, one colour scale per kind of map.

The maps of a single image fill several rows where there are many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxspace.inputs.methods import describe_options
from onnxspace.report.data_uri import PERCENTILE
from onnxspace.report.explanation import Column, Explanation
from onnxspace.report.layer_names import shorten_layers
from onnxspace.storage.printable import make_printable, shorten

#: One pixel of the picture per pixel of a map: 224 on two inches. All lengths below are in inches.
_DPI = 112
_CELL, _GAP, _EDGE = 2.0, 0.08, 0.12
_LABELS, _HEADER, _BAR, _LINE = 0.28, 0.46, 0.68, 0.17
_FONT = 8.5
#: The most panels in a row of a single image: a sheet of paper has as many.
_MOST_IN_ROW = 5
#: Of maps over images: the opacity of the largest values, and the part of the image's contrast that is kept.
_MOST_OPAQUE, _PALE = 0.8, 0.75


@dataclass(frozen=True)
class Scale:
    """Signed or unsigned maps: their colours, and the value `limit` at which the colour scale ends."""

    signed: bool
    limit: float

    @property
    def colours(self) -> ScalarMappable:
        low = -self.limit if self.signed else 0.0
        return ScalarMappable(Normalize(low, self.limit), "RdBu_r" if self.signed else "magma")

    def paint(self, values: NDArray[np.float64], image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The colours of a map, uint8 [size, size, 3]; over a paler `image`, the more opaque the larger its magnitude."""
        colours: NDArray[np.uint8] = np.asarray(self.colours.to_rgba(values, bytes=True))[..., :3]
        if image is None:
            return colours
        opaque = _MOST_OPAQUE * np.clip(np.abs(values) / self.limit, 0, 1)[..., None] ** 0.5
        return np.rint(opaque * colours + (1 - opaque) * (_PALE * image + 255 * (1 - _PALE))).astype(np.uint8)

    @property
    def label(self) -> str:
        what = "relevance: red is for, blue against" if self.signed else "importance, unsigned"
        return f"{what}\n1 = root mean square of each map; ends at the {PERCENTILE:g}th percentile"


@dataclass(frozen=True)
class _Page:
    """The layout: positions as shares of the figure, from the lower left corner."""

    rows: int
    columns: int
    bars: int
    noted: bool
    captioned: bool = False
    heads: int = 2
    wrapped: bool = False

    @classmethod
    def of(cls, found: Explanation, bars: int) -> _Page:
        """The layout of an explanation with so many colour bars."""
        noted, captioned = bool(found.options or found.note), any(column.captions for column in found.columns)
        heads = max(len(_list_heads(column)) for column in found.columns)
        panels, rows = 1 + len(found.columns), len(found.names)
        if rows > 1 or panels <= _MOST_IN_ROW + 1:
            return cls(rows, panels, bars, noted, captioned, heads)
        lines = -(-panels // _MOST_IN_ROW)
        return cls(lines, -(-panels // lines), bars, noted, captioned, heads, wrapped=True)

    @property
    def header(self) -> float:
        return _HEADER + (self.heads - 2) * _LINE

    @property
    def step(self) -> float:
        """From one row to the next."""
        return _CELL + _GAP + (_LINE if self.captioned else 0.0) + (self.header if self.wrapped else 0.0)

    @property
    def width(self) -> float:
        return _EDGE + _LABELS + self.columns * (_CELL + _GAP) - _GAP + _EDGE

    @property
    def note(self) -> float:
        return _LINE if self.noted else 0.0

    @property
    def foot(self) -> float:
        return _EDGE + self.note + self.bars * _BAR

    @property
    def height(self) -> float:
        return self.foot + self.rows * self.step + (0.0 if self.wrapped else self.header) + _EDGE

    def cell(self, row: int, column: int) -> tuple[float, float, float, float]:
        if self.wrapped:
            row, column = divmod(column, self.columns)
        left, above = _EDGE + _LABELS + column * (_CELL + _GAP), self.header if self.wrapped else 0.0
        return self._share(left, self.foot + (self.rows - row) * self.step - above - _CELL, _CELL, _CELL)

    def bar(self, number: int) -> tuple[float, float, float, float]:
        length = min(self.width - 2 * _EDGE - _LABELS, 2 * _CELL + _GAP)
        bottom = _EDGE + self.note + (self.bars - number) * _BAR - 0.2
        return self._share(_EDGE + _LABELS, bottom, length, 0.1)

    def point(self, left: float, bottom: float) -> tuple[float, float]:
        return left / self.width, bottom / self.height

    def _share(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.width, bottom / self.height, width / self.width, height / self.height


def draw_explanation(found: Explanation, path: Path, kind: Literal["png", "svg"] = "png", *, overlay: bool = False) -> None:
    """Write an explanation to `path` as a PNG, or as an SVG of `kind` that holds its images; with `overlay`, maps are over the images.

    Each map is divided by its own root mean square; all signed maps share one colour scale, and all unsigned ones another.
    """
    maps = [column.scaled() for column in found.columns]
    figure = make_figure(found, maps, find_scales(found.columns, maps), overlay=overlay)
    with rc_context({"svg.hashsalt": "onnxspace", "svg.image_inline": True, "svg.fonttype": "path"}):
        figure.savefig(path, format=kind, dpi=_DPI, metadata={"Date": None} if kind == "svg" else None)


def make_figure(
    found: Explanation,
    maps: Sequence[NDArray[np.float64]],
    scales: Mapping[bool, Scale],
    *,
    overlay: bool,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draw an explanation with its scaled `maps`; `scales` are those of signed and unsigned maps, `labels` the layers' (None: made here)."""
    labels = label_layers(found.columns) if labels is None else labels
    page = _Page.of(found, len(scales))
    figure = Figure(figsize=(page.width, page.height), dpi=_DPI)
    FigureCanvasAgg(figure)
    _draw_images(figure, page, found)
    for place, (column, values, label) in enumerate(zip(found.columns, maps, labels, strict=True), 1):
        heads = _list_heads(column, label)
        _write_head(figure, page, place, [*heads, *[""] * (page.heads - len(heads))])
        for row, value in enumerate(values):
            pixels = scales[column.signed].paint(value, found.images[row] if overlay else None)
            _panel(figure, page, row, place).imshow(pixels, interpolation="nearest")
            if column.captions:
                _write_caption(figure, page, row, place, column.captions[row])
    for number, one in enumerate(scales.values()):
        _draw_bar(figure, page, number, one)
    left, bottom = page.point(_EDGE + _LABELS, _EDGE)
    note = "; ".join(filter(None, (describe_options(found.options), found.note)))
    _write(figure, left, bottom, note, page.width - 2 * _EDGE - _LABELS, va="bottom", color="0.35")
    return figure


def label_layers(columns: Sequence[Column]) -> list[str]:
    """The place of each layer and its short name; empty where columns are not layers."""
    names = shorten_layers([column.layer for column in columns])
    return [
        f"{k}/{len(names)} · {name}" if column.layer else ""
        for k, (column, name) in enumerate(zip(columns, names, strict=True), 1)
    ]


def _list_heads(column: Column, label: str = "") -> list[str]:
    """The lines above a column: what differs between columns first."""
    if column.layer:
        return [label, column.model, column.subject_words]
    return [column.model, column.method, *([column.target] if column.target else [])]


def find_scales(columns: Sequence[Column], maps: Sequence[NDArray[np.float64]]) -> dict[bool, Scale]:
    """The scales of signed and unsigned maps, signed ones first; they end at 1 where every map is zero."""
    found = {}
    for signed in (True, False):
        values = [np.abs(m).ravel() for m, column in zip(maps, columns, strict=True) if column.signed == signed]
        if values:
            limit = float(np.percentile(np.concatenate(values), PERCENTILE))
            found[signed] = Scale(signed, limit if limit > 0 else 1.0)
    return found


def _panel(figure: Figure, page: _Page, row: int, column: int) -> Any:
    axes = figure.add_axes(page.cell(row, column))
    axes.set_xticks([])
    axes.set_yticks([])
    for edge in axes.spines.values():
        edge.set_edgecolor("0.6")
        edge.set_linewidth(0.5)
    return axes


def _draw_images(figure: Figure, page: _Page, found: Explanation) -> None:
    for row, (name, image) in enumerate(zip(found.names, found.images, strict=True)):
        _panel(figure, page, row, 0).imshow(image, interpolation="nearest")
        left, bottom, _, height = page.cell(row, 0)
        middle = bottom + height / 2
        _write(figure, left - 0.08 / page.width, middle, make_printable(name), _CELL, rotation=90, ha="right", va="center")


def _write_head(figure: Figure, page: _Page, column: int, lines: Sequence[str]) -> None:
    left, bottom, width, height = page.cell(0, column)
    top = bottom + height
    for number, text in enumerate(lines):
        above, color = 0.06 + (len(lines) - 1 - number) * _LINE, "0.35" if number else "black"
        _write(figure, left + width / 2, top + above / page.height, text, _CELL, ha="center", va="bottom", color=color)


def _write_caption(figure: Figure, page: _Page, row: int, column: int, text: str) -> None:
    left, bottom, width, _ = page.cell(row, column)
    _write(figure, left + width / 2, bottom - 0.03 / page.height, text, _CELL, ha="center", va="top", color="0.2")


def _draw_bar(figure: Figure, page: _Page, number: int, kind: Scale) -> None:
    axes = figure.add_axes(page.bar(number))
    extend = "both" if kind.signed else "max"
    bar = figure.colorbar(kind.colours, cax=axes, orientation="horizontal", extend=extend, extendfrac=0.03)
    bar.ax.tick_params(labelsize=_FONT - 1.5, length=2, pad=1.5)
    bar.set_label(kind.label, fontsize=_FONT - 0.5, labelpad=2, parse_math=False)


def _write(figure: Figure, x: float, y: float, name: str, inches: float, **style: Any) -> None:
    """Write a name, shortened in the middle until it fits into `inches`."""
    clean = make_printable(name)
    text = figure.text(x, y, clean, fontsize=_FONT, parse_math=False, **style)
    for length in range(min(len(clean), 200) - 1, 1, -1):
        box = text.get_window_extent()
        if max(box.width, box.height) <= inches * _DPI:
            break
        text.set_text(shorten(clean, length))
