"""The content of a page, and the numbers that its charts are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from onnxspace.evaluation import Evaluation
from onnxspace.report.embedding import embed_in_plane
from onnxspace.report.thumbnails import Gallery
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.ranking import Ranking
from onnxspace.storage.printable import make_printable

_DIGITS = 6


@dataclass(frozen=True)
class Sheet:
    """Further facts of each model as a table: headings `columns`, and a row of cells per model."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class PageData:
    """The content of a page: a comparison and facts about it.

    `sheet` has further facts of each model. `facts` are terms and their values; `notes` are caveats, a sentence each; `about`
    holds a model's assumptions or preprocessing by name. `target` is the model whose sources are shown first. `gallery` and
    `evaluation` are None where the page has none.
    """

    title: str
    affinity: Affinity
    sheet: Sheet
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    about: tuple[tuple[str, tuple[str, ...]], ...]
    target: str
    gallery: Gallery | None = None
    evaluation: Evaluation | None = None


def page_numbers(shown: PageData) -> dict[str, Any]:
    """The data of the page's script, ready for `json.dumps`; models are indices into `names`."""
    found = shown.affinity
    places = {name: i for i, name in enumerate(found.names)}
    ranked = [found.rank(name) for name in found.names]
    return {
        "names": [make_printable(name) for name in found.names],
        "by": score_label(found.by),
        "rankedBy": [score_label(one.by) for one in ranked],
        "kin": [one.lists_kin for one in ranked],
        "notes": [[make_printable(note) for note in one.notes] for one in ranked],
        "brackets": [list(one.brackets) for one in ranked],
        "places": [list(one.places) for one in ranked],
        "target": places[shown.target],
        "matrix": _to_lists(found.matrix),
        "errors": None if found.errors is None else _to_lists(found.errors),
        "ranks": [[places[source] for source, _ in one.sources] for one in ranked],
        "values": None if all(one.by == found.by for one in ranked) else [_row_values(one, places) for one in ranked],
        "sure": {str(places[name]): _certainty_numbers(one, places) for name, one in found.certainty.items()},
        **_tree(found),
        "gallery": _gallery(shown.gallery),
        "evaluation": None if shown.evaluation is None else _evaluation(shown.evaluation),
    }


def _row_values(ranked: Ranking, places: Mapping[str, int]) -> list[float | None]:
    """The values of a target's sources at their positions, None for the rest."""
    row: list[float | None] = [None] * len(places)
    for source, value in ranked.sources:
        row[places[source]] = round(value, _DIGITS)
    return row


def score_label(score: str) -> str:
    """The label of a score: its name, but "affinity" for `attribution`."""
    return "affinity" if score == "attribution" else make_printable(score)


def _to_lists(values: NDArray[np.float64]) -> list[Any]:
    """Convert an array to nested lists of rounded numbers, None for what is not finite."""
    if values.ndim > 1:
        return [_to_lists(row) for row in values]
    return [round(value, _DIGITS) if math.isfinite(value) else None for value in values.tolist()]


def _certainty_numbers(one: Any, places: Mapping[str, int]) -> dict[str, Any]:
    rows = {str(places[s.source]): [s.low, s.high, s.ahead] for s in one.sources if s.source in places}
    rounded = {place: [None if v is None else round(v, 4) for v in row] for place, row in rows.items()}
    return {"rows": rounded, "settled": one.settled, "images": one.images, "level": one.level}


def _tree(found: Affinity) -> dict[str, Any]:
    """The tree's order of leaves, its lines, and the plane; None for both where a pair has no value or there is no pair."""
    count = len(found.names)
    if count < 2 or np.isnan(found.matrix).any():
        return {"order": list(range(count)), "tree": None, "plane": None}
    joined = found.tree()
    drawn = dendrogram(joined, no_plot=True)
    flat = embed_in_plane(found.matrix)
    lines = {"across": _to_lists((np.array(drawn["icoord"]) - 5) / 10), "height": _to_lists(np.array(drawn["dcoord"]))}
    return {
        "order": [int(leaf) for leaf in drawn["leaves"]],
        "tree": lines | {"joins": _to_lists(joined)},
        "plane": {"points": _to_lists(flat.points), "share": round(flat.share, 4), "stress": round(flat.stress, 4)},
    }


def _gallery(found: Gallery | None) -> dict[str, Any] | None:
    """Numbers of the gallery; its pictures are in the page's HTML."""
    if found is None:
        return None
    cosines = [[[round(value, 3) for value in row] for row in image] for image in found.cosines.tolist()]
    return {"images": list(found.images), "models": list(found.models), "cosines": cosines}


def _evaluation(found: Evaluation) -> dict[str, Any]:
    one = found.scored[0]
    curves = {
        name: _curve(one.measures[name], getattr(found.random, name), getattr(found.best, name))
        for name in ("precision", "recall")
    }
    return {"relevant": found.relevant, "level": found.level, "targets": len(found.targets), **curves}


def _curve(measure: Any, random: NDArray[np.float64], best: NDArray[np.float64]) -> dict[str, Any]:
    lines: Sequence[tuple[str, NDArray[np.float64]]] = (
        ("mean", measure.mean), ("low", measure.low), ("high", measure.high), ("random", random), ("best", best),
    )  # fmt: skip
    return {name: _to_lists(np.asarray(values)) for name, values in lines}
