"""A comparison as one HTML file that needs nothing else: styles, script, plotting library, numbers and pictures inside.

The policy in its head allows only the scripts and styles that are in it, by their hashes, and no request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from onnxspace.evaluation.result import CORRELATIONS, Evaluation
from onnxspace.report.data_uri import palette
from onnxspace.report.page_data import PageData, numbers
from onnxspace.similarity.affinity import Affinity
from onnxspace.storage.printable import printable

_FILTER_STEPS = 33
_NAMED = {"weighted_tau": "weighted τ", "kendall_tau": "Kendall τ", "spearman": "Spearman ρ"}


@dataclass(frozen=True)
class _Source:
    """A line of the ranking as the page has it before its script runs."""

    rank: int
    name: str
    value: str
    interval: str
    ahead: str


@dataclass(frozen=True)
class _Tile:
    picture: str
    alt: str


@dataclass(frozen=True)
class _TileRow:
    model: int
    name: str
    tiles: tuple[_Tile, ...]


def render(shown: PageData) -> str:
    """The page. Every name in it is escaped, control characters in names are replaced."""
    style, library, scripts = _asset("page.css"), _asset("plotly-cartesian.min.js"), [_asset("charts.js"), _asset("page.js")]
    told = numbers(shown)
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.from_string(_asset("page.html")).render(
        policy=_policy([style], [library, *scripts]), style=style, library=library, scripts=scripts,
        data=for_script(told), shown=shown, title=printable(shown.title), lead=printable(shown.affinity.title), facts=_clean_pairs(shown.facts),
        notes=[printable(note) for note in shown.notes], failed=[printable(f.error) for f in shown.affinity.failed],
        about=[(printable(name), [printable(line) for line in lines]) for name, lines in shown.about],
        names=told["names"], target=told["target"], by=told["by"], ranked_by=told["rankedBy"], meaning=_meaning(shown.affinity), plane=told["plane"], tree=told["tree"],
        sources=_sources(shown.affinity, shown.target), columns=[printable(name) for name in shown.sheet.columns],
        rows=_rows(shown), gallery=shown.gallery, tiles=_tiles(shown), signed=shown.gallery is not None and shown.gallery.signed,
        channels=_channels(shown.gallery is None or shown.gallery.signed), measures=_measures(shown.evaluation),
    )  # fmt: skip


def for_script(told: Any) -> str:
    """JSON that ends no script element, whatever names are in it."""
    text = json.dumps(told, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (files("onnxspace.report") / "assets" / name).read_text("utf-8")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The empty style is the one that plotly.js makes, and then fills by script."""
    allowed = {"style-src": (*styles, ""), "script-src": scripts}
    hashed = "; ".join(f"{kind} {' '.join(map(_hash, texts))}" for kind, texts in allowed.items())
    return f"default-src 'none'; {hashed}; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    """As a browser computes it, which reads line ends as one character."""
    digest = hashlib.sha256(text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _clean_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(printable(term), printable(text)) for term, text in pairs]


def number(value: float) -> str:
    """Three places, a true minus sign, and no −0."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def _sources(found: Affinity, target: str) -> list[_Source]:
    sure = {} if target not in found.certainty else {one.source: one for one in found.certainty[target].sources}
    row, rows = found.names.index(target), []
    for place, (source, value) in enumerate(found.rank(target).sources, 1):
        one, interval, ahead = sure.get(source), "", ""
        if one is not None:
            interval = f"{number(one.low)} to {number(one.high)}"
            ahead = "" if one.ahead is None else f"{100 * one.ahead:.0f} %"
        elif found.errors is not None and (error := float(found.errors[row, found.names.index(source)])) > 0:
            interval = f"± {error:.3f}"
        rows.append(_Source(place, printable(source), number(value), interval, ahead))
    return rows


def _meaning(found: Affinity) -> str:
    """What a bar of the ranking stands for."""
    if found.ranks_by == "predictivity":
        return "The longer the bar, the more of the target's outputs a source's features predict."
    return "The longer the bar, the more alike two models look at the images."


def _rows(shown: PageData) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Name, nearest model, its affinity, and the other cells."""
    rows = []
    for name, cells in zip(shown.affinity.names, shown.sheet.rows, strict=True):
        ranked = shown.affinity.rank(name, shown.affinity.by).sources
        source, value = (printable(ranked[0][0]), number(ranked[0][1])) if ranked else ("", "")
        rows.append((printable(name), source, value, tuple(printable(cell) for cell in cells)))
    return rows


def _tiles(shown: PageData) -> list[_TileRow]:
    if shown.gallery is None:
        return []
    found, rows = shown.gallery, []
    for model, tiles in zip(found.models, found.tiles, strict=True):
        name = printable(shown.affinity.names[model])
        pictures = (_Tile(uri, f"Map of {name}, image {image + 1}") for image, uri in zip(found.images, tiles, strict=True))
        rows.append(_TileRow(model, name, tuple(pictures)))
    return rows


def _channels(signed: bool) -> list[str]:
    """What the picture filter makes of grey, in red, green and blue."""
    return [" ".join(f"{value:.4f}" for value in channel) for channel in palette(signed, _FILTER_STEPS).T]


def _measures(found: Evaluation | None) -> list[tuple[str, str, str]]:
    """Rank correlations and P@1, each with its interval."""
    if found is None:
        return []
    one, rows = found.scored[0], []
    for name in (*CORRELATIONS, "precision"):
        measure = one.measures[name]
        words = "P@1" if name == "precision" else _NAMED[name]
        rows.append(
            (words, number(float(measure.mean[0])), f"{number(float(measure.low[0]))} to {number(float(measure.high[0]))}")
        )
    return rows
