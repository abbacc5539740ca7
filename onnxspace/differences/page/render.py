"""Render what changed between two models as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from onnxspace.differences.findings import format_percent
from onnxspace.differences.page.content import PageContent, make_content
from onnxspace.differences.page.pictures import PagePictures, shrink
from onnxspace.differences.page.rows import REWRITTEN, GraphRow
from onnxspace.differences.result import STATUSES, GraphDetails, LayerRow, ModelDiff
from onnxspace.differences.table import select_rows
from onnxspace.report.data_uri import data_uri, limit_of, to_colours
from onnxspace.report.self_contained import make_template, read_asset, to_script_json, write_policy
from onnxspace.storage.printable import make_printable, shorten

#: Signs of what became of nodes, so that colours are not all that tells them apart.
SIGNS = {"equal": "=", "relaid": "⇄", "replaced": "≈", "departs": "≠", "downstream": "↓", "added": "+", "removed": "−"}
_VERDICTS = {"same": "The same network", "rounding": "The same but for rounding", "differ": "The networks differ"}
#: Columns of the table, and what they are called.
_COLUMNS = {
    "status": "Change", "old_op": "Operator", "new": "Layer", "relative_error": "Error", "own_error": "Own error",
    "max_error": "Largest error", "cosine": "Cosine", "snr_db": "SNR in dB", "new_shape": "Shape", "new_type": "Type",
    "old_range": "Old range", "new_range": "New range", "half_overflow": "Half: overflow", "half_underflow": "Half: underflow",
    "int8_saturated": "Int8: saturated",
}  # fmt: skip
#: Rows of the table that are there without the script, characters of names in tables, and bars of the overview.
_ROWS, _NAME, _BARS = 50, 120, 400


@dataclass(frozen=True)
class _Shot:
    """An image of the page, with both maps where there are some."""

    name: str
    words: str
    picture: str
    maps: tuple[str, ...]


def render_page(found: ModelDiff, details: GraphDetails, pictures: PagePictures | None = None) -> str:
    """Render the page as HTML. Every name in it is escaped, and control characters in names are replaced."""
    style = read_asset("page.css") + read_asset("diff.css", __package__)
    scripts = [read_asset(name, __package__) for name in ("graphs.js", "diff.js")]
    content = make_content(found, details)
    names = [shorten(one.name, _NAME) for one in (found.old, found.new)]
    return make_template("diff.html", __package__).render(
        policy=write_policy([style], scripts), style=style, scripts=scripts, data=to_script_json({**content.data, "signs": SIGNS}),
        title=f"{names[0]} → {names[1]}", names=names, verdict=found.verdict, verdict_words=_VERDICTS[found.verdict],
        summary=make_printable(found.summary), changes=[make_printable(change.text) for change in found.changes],
        counts=list(_count_nodes(found)), files=_compare_files(found), signs=SIGNS,
        layers=[_format_layer(row) for row in select_rows(found.layers, "own-error")[:_ROWS]], columns=list(_COLUMNS.items()),
        outputs=[_format_output(row.old, row.new, row.relative_error, row.max_error) for row in found.outputs],
        facts=_list_facts(found), notes=_list_notes(found, content, pictures), version=version("onnxspace"),
        **_draw_strip(found, content.rows), **_draw_pictures(details, pictures), ranked=bool(details.image_errors) and found.verdict != "same",
        short=[shorten(name) for name in names],
    )  # fmt: skip


def _count_nodes(found: ModelDiff) -> Iterator[tuple[str, str, int, int, str]]:
    counts = found.counts
    for status, words in STATUSES.items():
        old, new = counts["old"][status], counts["new"][status]
        if old or new:
            yield status, SIGNS[status], old, new, words


def _compare_files(found: ModelDiff) -> list[tuple[str, str, str]]:
    old, new = found.old, found.new
    types = [", ".join(f"{number} {name}" for name, number in one.types.items()) for one in (old, new)]
    rows = [
        ("File", old.path, new.path), ("Written by", old.producer, new.producer), ("Operator set", str(old.opset), str(new.opset)),
        ("Nodes", str(old.nodes), str(new.nodes)), ("Parameters", f"{old.parameters:,}", f"{new.parameters:,}"),
        ("Layers by type", types[0], types[1]), ("SHA-256", old.sha256[:12], new.sha256[:12]),
    ]  # fmt: skip
    return [(term, shorten(first, _NAME), shorten(second, _NAME)) for term, first, second in rows]


def _format_layer(row: LayerRow) -> list[str]:
    operators, shapes = dict.fromkeys((row.old_op, row.new_op)), dict.fromkeys((row.old_shape, row.new_shape))
    cells = [
        row.status, " → ".join(operators), row.new, _share(row.relative_error), *map(_number, (row.own_error, row.max_error, row.cosine, row.snr_db)),
        " → ".join("×".join(map(str, shape)) for shape in shapes), " → ".join(dict.fromkeys((row.old_type, row.new_type))),
        _range(row.old_range), _range(row.new_range), *map(_share, (row.half_overflow, row.half_underflow, row.int8_saturated)),
    ]  # fmt: skip
    return [shorten(cell, _NAME) for cell in cells]


def _format_output(old: str | None, new: str | None, relative: float | None, largest: float | None) -> list[str]:
    names = ["not there" if name is None else shorten(name, _NAME) for name in (old, new)]
    return [*names, _share(relative) or "not compared", _number(largest) or "not compared"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}".replace("-", "−")


def _share(value: float | None) -> str:
    if value is None:
        return ""
    return format_percent(value) if value >= 1e-4 else f"{value:.1e}".replace("-", "−") if value else "0"


def _range(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{_number(pair[0])} to {_number(pair[1])}"


def _draw_strip(found: ModelDiff, rows: Sequence[GraphRow]) -> dict[str, Any]:
    """The overview: what became of the nodes from the input to the output, of several at one place the largest change."""
    bars = []
    for part in np.array_split(np.arange(len(rows)), min(_BARS, max(1, len(rows)))):
        worst = max((rows[i] for i in part), key=lambda row: row.level, default=None)
        word = "equal" if worst is None or not worst.level else found.groups[worst.group].status
        bars.append((word, worst is not None and worst.level >= REWRITTEN))
    shown = [(place, word, high) for place, (word, high) in enumerate(bars) if word != "equal"]
    changed = sum(row.level >= REWRITTEN for row in rows)
    label = f"Overview of both graphs: {changed} of {len(rows)} rows changed"
    return {"strip": bars, "bars": shown, "strip_label": label}


def _draw_pictures(details: GraphDetails, pictures: PagePictures | None) -> dict[str, Any]:
    if pictures is None:
        return {"pictures": [], "pictures_note": "", "mapped": False, "side": 0}
    limit = limit_of(np.stack(pictures.maps)) if pictures.maps else 1.0
    shots = [_draw_shot(details, pictures, row, limit) for row in range(len(pictures.places))]
    side = len(shrink(pictures.images[0]))
    mapped = bool(pictures.maps)
    note = _describe_maps(pictures) if mapped else "Both networks ran on these images. " + pictures.note
    return {
        "pictures": shots,
        "pictures_note": make_printable(note),
        "mapped": mapped,
        "side": side,
    }


def _describe_maps(pictures: PagePictures) -> str:
    colours = "red speaks for, blue against" if pictures.signed else "bright where the network is sensitive"
    return f"What the encoders look at, by {pictures.method}: {colours}. Each map is divided by its own root mean square, and all share one scale."


def _draw_shot(details: GraphDetails, pictures: PagePictures, row: int, limit: float) -> _Shot:
    maps = tuple(data_uri(shrink(to_colours(one[row], limit, signed=pictures.signed))) for one in pictures.maps)
    return _Shot(
        f"Image {pictures.places[row] + 1}",
        _describe_image(details, pictures, row),
        data_uri(shrink(pictures.images[row])),
        maps,
    )


def _describe_image(details: GraphDetails, pictures: PagePictures, row: int) -> str:
    words = []
    if details.image_errors:
        error = details.image_errors[pictures.places[row]]
        words.append("outputs are not finite" if error is None else f"outputs differ by {_share(error)}")
    if pictures.maps:
        first, second = (one[row].ravel() for one in pictures.maps)
        lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
        words.append(f"cosine of the maps {float(first @ second) / lengths:.3f}" if lengths else "a map is 0")
    return "; ".join(words)


def _list_facts(found: ModelDiff) -> list[tuple[str, str]]:
    probe = found.probe
    size = f" of {probe['size']} × {probe['size']} pixels" if "size" in probe else ""
    facts = [("Compared on", f"{probe['images']} images{size} ({probe['name']})")]
    facts += [("SHA-256 of the images", str(probe["sha256"]))] if "sha256" in probe else []
    facts += [("SHA-256 of the old file", found.old.sha256), ("SHA-256 of the new file", found.new.sha256)]
    return [(term, make_printable(text)) for term, text in facts]


def _list_notes(found: ModelDiff, content: PageContent, pictures: PagePictures | None) -> list[str]:
    notes = [*found.warnings, *([pictures.note] if pictures is not None and pictures.note else [])]
    if content.left_out:
        notes.append(f"The graphs leave out {content.left_out} rows, for which the page has no room; --json has all.")
    return [make_printable(note) for note in notes]
