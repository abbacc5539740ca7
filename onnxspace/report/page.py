"""Render a comparison as one self-contained HTML file, with styles, scripts, plotting library, numbers and pictures inside.

Its content security policy allows only these scripts and styles, by their hashes, and no requests to anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxspace.evaluation.result import CORRELATIONS, Evaluation
from onnxspace.report.data_uri import palette
from onnxspace.report.page_data import PageData, page_numbers
from onnxspace.report.self_contained import make_template, read_asset, to_script_json, write_policy
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.reliability import describe_reliability
from onnxspace.storage.printable import make_printable

_FILTER_STEPS = 33
_NAMED = {"weighted_tau": "weighted τ", "kendall_tau": "Kendall τ", "spearman": "Spearman ρ"}


@dataclass(frozen=True)
class _Source:
    """A row of the ranking, as it is shown before the script runs."""

    place: int
    bracket: int
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
    """Render the page as HTML. Every name in it is escaped, and control characters in names are replaced."""
    style, library, scripts = (
        read_asset("page.css"),
        read_asset("plotly-cartesian.min.js"),
        [read_asset("charts.js"), read_asset("page.js")],
    )
    content = page_numbers(shown)
    return make_template("page.html").render(
        policy=write_policy([style], [library, *scripts]), style=style, library=library, scripts=scripts,
        data=to_script_json(content), shown=shown, title=make_printable(shown.title),
        lead=make_printable(shown.affinity.title), facts=_clean_pairs(shown.facts),
        notes=[make_printable(note) for note in shown.notes], failed=[make_printable(f.error) for f in shown.affinity.failed],
        about=[(make_printable(name), [make_printable(line) for line in lines]) for name, lines in shown.about],
        names=content["names"], target=content["target"], by=content["by"], ranked_by=content["rankedBy"][content["target"]],
        kin=all(content["kin"]), evidence=_describe_evidence(shown.affinity), meaning=_meaning(shown.affinity), plane=content["plane"], tree=content["tree"],
        sources=_sources(shown.affinity, shown.target), columns=[make_printable(name) for name in shown.sheet.columns],
        rows=_rows(shown), gallery=shown.gallery, tiles=_tiles(shown), opposed=bool(np.nanmin(shown.affinity.matrix) < 0), signed=shown.gallery is not None and shown.gallery.signed,
        channels=_channels(shown.gallery is None or shown.gallery.signed), measures=_measures(shown.evaluation),
    )  # fmt: skip


def _clean_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(make_printable(term), make_printable(text)) for term, text in pairs]


def format_number(value: float) -> str:
    """Format a number with three decimals, a true minus sign, and no −0."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def _sources(found: Affinity, target: str) -> list[_Source]:
    sure = {} if target not in found.certainty else {one.source: one for one in found.certainty[target].sources}
    row, rows, ranked = found.names.index(target), [], found.rank(target)
    for place, bracket, (source, value) in zip(ranked.places, ranked.brackets, ranked.sources, strict=True):
        one, interval, ahead = sure.get(source), "", ""
        if one is not None:
            interval = f"{format_number(one.low)} to {format_number(one.high)}"
            ahead = "" if one.ahead is None else f"{100 * one.ahead:.0f} %"
        elif found.errors is not None and (error := float(found.errors[row, found.names.index(source)])) > 0:
            interval = f"± {error:.3f}"
        rows.append(_Source(place, bracket, make_printable(source), format_number(value), interval, ahead))
    return rows


#: What the bars of a ranking by a score mean.
_MEANINGS = {
    "attribution": "The longer the bar, the more similar the attribution maps of the two models.",
    "mean_rank": "The longer the bar, the better a source's mean rank by the scores that are combined.",
    "knn_agreement": "The longer the bar, the more often neighbours in a source's features have the target's answer.",
    "predictivity": "The longer the bar, the more of the target's outputs a source's features predict.",
    "probability_predictivity": "The longer the bar, the more of the target's probabilities a source's features predict.",
}


def _meaning(found: Affinity) -> str:
    """A sentence on what the bars of the ranking mean."""
    return _MEANINGS.get(found.ranks_by, f"The longer the bar, the larger {make_printable(found.ranks_by)}.")


def _describe_evidence(found: Affinity) -> list[str]:
    """What the rankings rest on, a sentence each."""
    ranked = [found.rank(name) for name in found.names]
    lines = []
    for by, evidence, kin in dict.fromkeys((one.by, one.evidence, one.lists_kin) for one in ranked):
        score = "affinity of maps" if by == "attribution" else by
        words = describe_reliability("none" if kin else evidence, by)
        lines.append(make_printable(f"Evidence: {evidence}, by {score}. {words}"))
    if found.evidence == "none":
        lines.append("To rank what to start from, compare the models on pictures of the task: onnxspace score --probe photos/")
    return lines


def _rows(shown: PageData) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Name, nearest model, its affinity, and the other cells."""
    rows = []
    for name, cells in zip(shown.affinity.names, shown.sheet.rows, strict=True):
        ranked = shown.affinity.rank(name, shown.affinity.by).sources
        source, value = (make_printable(ranked[0][0]), format_number(ranked[0][1])) if ranked else ("", "")
        rows.append((make_printable(name), source, value, tuple(make_printable(cell) for cell in cells)))
    return rows


def _tiles(shown: PageData) -> list[_TileRow]:
    if shown.gallery is None:
        return []
    found, rows = shown.gallery, []
    for model, tiles in zip(found.models, found.tiles, strict=True):
        name = make_printable(shown.affinity.names[model])
        pictures = (_Tile(uri, f"Map of {name}, image {image + 1}") for image, uri in zip(found.images, tiles, strict=True))
        rows.append(_TileRow(model, name, tuple(pictures)))
    return rows


def _channels(signed: bool) -> list[str]:
    """Tables of the filter that turns grey into red, green and blue."""
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
            (
                words,
                format_number(float(measure.mean[0])),
                f"{format_number(float(measure.low[0]))} to {format_number(float(measure.high[0]))}",
            )
        )
    return rows
