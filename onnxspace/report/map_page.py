"""One HTML page of images and their maps, which opens offline: the image, the method, the target and the opacity are chosen there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.evaluation.faithfulness.table import FaithfulnessTable
from onnxspace.inputs.methods import describe_options
from onnxspace.report.data_uri import PERCENTILE, data_uri, palette, to_grey
from onnxspace.report.explanation import Column, Explanation
from onnxspace.report.gallery import find_scales
from onnxspace.report.self_contained import make_template, read_asset, to_script_json, write_policy
from onnxspace.storage.printable import make_printable
from onnxspace.storage.short_text import count

#: Pixels along a map, which the browser enlarges, and the largest number of characters of all pictures.
SIDE, BUDGET = 112, 9_000_000
_STEPS = 33
#: The opacity at first, in percent, and that of the largest values of an overlay, as in a picture.
_OPACITY, _MOST_OPAQUE = 80, 0.9
_FIELDS = (("model", "Model"), ("method", "Method"), ("target", "Explained"))


@dataclass(frozen=True)
class _Photo:
    name: str
    picture: str


@dataclass(frozen=True)
class _Listed:
    model: str
    words: str


@dataclass(frozen=True)
class _Scale:
    """The colours of signed or unsigned maps: tables of the browser's filters, the colour bar, and its labels."""

    key: str
    channels: Sequence[str]
    alpha: str
    stops: Sequence[tuple[str, str]]
    low: str
    middle: str
    high: str
    words: str


def render_map_page(found: Explanation) -> str:
    """Render the page as HTML; every name in it is escaped. Images that make it too large are left out from the end, and counted in it.

    Each map is divided by its own root mean square; all signed maps share one colour scale, and all unsigned ones another.
    """
    maps = [column.scaled() for column in found.columns]
    limits = {signed: scale.limit for signed, scale in find_scales(found.columns, maps).items()}
    photos = [_Photo(make_printable(name), data_uri(image)) for name, image in zip(found.names, found.images, strict=True)]
    tiles = [[_shrink(one, limits[c.signed], c) for one in values] for values, c in zip(maps, found.columns, strict=True)]
    kept = _count_kept(photos, tiles)
    style, script = read_asset("page.css") + read_asset("maps.css"), read_asset("maps.js")
    words = {field: list(dict.fromkeys(_field(column, field) for column in found.columns)) for field, _ in _FIELDS}
    left_out = [f"{len(photos) - kept} more are left out, since the page would be too large."] if kept < len(photos) else []
    return make_template("maps.html").render(
        policy=write_policy([style], [script]), style=style, scripts=[script], title=_write_title(found), lead=_write_lead(found, kept),
        fields=[(field, label, words[field]) for field, label in _FIELDS], opacity=_OPACITY, photos=photos[:kept],
        scales=[_make_scale(signed, limit) for signed, limit in limits.items()], left_out=left_out,
        columns=[_Listed(make_printable(c.model), _describe(c)) for c in found.columns], facts=_list_facts(found),
        notes=[make_printable(note) for note in (*found.assumed, *found.remarks, *found.warnings)],
        tables=[_escape_table(table) for table in found.faithfulness], data=to_script_json(_list_data(found, photos[:kept], tiles, words)),
    )  # fmt: skip


def _escape_table(table: FaithfulnessTable) -> FaithfulnessTable:
    """The table with the characters of names and sentences that can't be printed escaped."""
    return replace(
        table, title=make_printable(table.title), explained=make_printable(table.explained),
        followed=make_printable(table.followed), remarks=tuple(make_printable(text) for text in table.remarks),
    )  # fmt: skip


def write_map_page(found: Explanation, path: Path) -> None:
    """Write the page to `path`."""
    path.write_text(render_map_page(found), "utf-8")


def _count_kept(photos: Sequence[_Photo], tiles: Sequence[Sequence[str]]) -> int:
    """How many images fit; at least one."""
    sizes = [len(photo.picture) + sum(len(column[place]) for column in tiles) for place, photo in enumerate(photos)]
    return max(1, int(np.searchsorted(np.cumsum(sizes), BUDGET, side="right")))


def _shrink(values: NDArray[np.float64], limit: float, column: Column) -> str:
    """A map as a grey picture."""
    picture = Image.fromarray(values.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return data_uri(to_grey(np.asarray(picture), limit, signed=column.signed), quality=85)


def _field(column: Column, field: str) -> str:
    if field == "target":
        return make_printable(column.target or ("the encoder" if not column.layer else column.layer))
    return make_printable(str(getattr(column, field)))


def _describe(column: Column) -> str:
    return make_printable(column.subject)


def _list_data(
    found: Explanation, photos: Sequence[_Photo], tiles: Sequence[Sequence[str]], words: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    kept = len(photos)
    columns = [
        {
            "words": [words[field].index(_field(column, field)) for field, _ in _FIELDS],
            "shown": [make_printable(column.model), _describe(column)],
            "signed": column.signed,
            "captions": [make_printable(text) for text in column.captions[:kept]],
            "maps": list(pictures[:kept]),
        }
        for column, pictures in zip(found.columns, tiles, strict=True)
    ]
    return {"names": [photo.name for photo in photos], "columns": columns}


def _make_scale(signed: bool, limit: float) -> _Scale:
    colours = palette(signed, _STEPS)
    place = np.linspace(-1, 1, _STEPS) if signed else np.linspace(0, 1, _STEPS)
    opaque = _MOST_OPAQUE * np.abs(place) ** 0.5
    alpha = np.concatenate([np.zeros(_STEPS - 1), opaque])  # the filter puts values from 0 to 1 at 0.5 to 1
    what = "Relevance: red is for, blue against" if signed else "Importance: the brighter, the more"
    return _Scale(
        "signed" if signed else "unsigned", [_join(channel) for channel in colours.T], _join(alpha),
        [(f"{share:.4f}", _to_hex(colour)) for share, colour in zip(np.linspace(0, 1, _STEPS), colours, strict=True)],
        f"−{limit:.2f}" if signed else "0", "0" if signed else "", f"{limit:.2f}",
        f"{what}. 1 is the root mean square of each map; colours end at the {PERCENTILE:g}th percentile.",
    )  # fmt: skip


def _join(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _to_hex(colour: NDArray[np.float64]) -> str:
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in colour)


def _write_title(found: Explanation) -> str:
    models = list(dict.fromkeys(make_printable(column.model) for column in found.columns))
    return f"Maps of {', '.join(models[:3])}{f' and {len(models) - 3} more' if len(models) > 3 else ''}"


def _write_lead(found: Explanation, kept: int) -> str:
    methods = list(dict.fromkeys(column.method for column in found.columns))
    return f"{count(kept, 'image')} · {', '.join(methods)}"


def _list_facts(found: Explanation) -> list[tuple[str, str]]:
    models = dict.fromkeys(make_printable(column.model) for column in found.columns)
    methods = dict.fromkeys(column.method for column in found.columns)
    rows = [("Models", ", ".join(models)), ("Methods", ", ".join(methods))]
    rows += [("Options", make_printable(describe_options(found.options)))] if found.options else []
    return rows + ([("Images", make_printable(found.note))] if found.note else [])
