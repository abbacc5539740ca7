"""The look of all pictures: white, so that they read on dark pages too; colours that colour-blind readers tell apart."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from models.minitaskonomy.page.results import Measurement

#: Okabe and Ito's colours, told apart by colour-blind readers too; line styles and markers say the same again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
MARKERS = "osD^vPX*"


def new_figure(width: float, height: float) -> Figure:
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def save_figure(made: Figure, path: Path) -> None:
    """In 256 colours, and without a date, so that equal tables give equal bytes."""
    content = BytesIO()
    made.savefig(content, dpi=110, metadata={"Software": None})
    reduce_colours(content).save(path, "PNG", optimize=True)


def reduce_colours(content: BytesIO) -> Image.Image:
    """The picture with a palette, which takes a third of the bytes."""
    whole = Image.open(content).convert("RGB")
    reduced = whole.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.putpalette([255 if value >= 253 else value for value in reduced.getpalette() or ()])  # white stays white
    return reduced


def style_axes(axes: Any) -> None:
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def choose_style(place: int) -> dict[str, Any]:
    """Eight colours, then the same ones dashed with other markers."""
    marker, style = MARKERS[(place + place // 8) % 8], ("-", "--")[place // 8 % 2]
    return {"color": COLOURS[place % 8], "marker": marker, "linestyle": style, "markersize": 4.5, "linewidth": 1.5}


def format_name(one: Measurement) -> str:
    """A line of measures.csv, for a legend."""
    return f"{one.label} ({one.images} {one.probe})" if one.images else one.label
