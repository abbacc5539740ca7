"""What a page shows, and the numbers that its charts are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from onnxspace.evaluation import Evaluation
from onnxspace.report.embedding import plane
from onnxspace.report.thumbnails import Gallery
from onnxspace.similarity.affinity import Affinity
from onnxspace.storage.printable import printable

_DIGITS = 6


@dataclass(frozen=True)
class Sheet:
    """What else is known of each model: a heading per column, and a cell of each per model."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class PageData:
    """A comparison, and all that a page tells about it.

    `facts` are terms and what they stand for; `notes` what a reader should know, a sentence each; `about` what was assumed of a
    model, or how it was fed, by name. `target` is the model whose sources are shown first.
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


def numbers(shown: PageData) -> dict[str, Any]:
    """What the page's script draws, ready for `json.dumps`; a model is its place in `names`."""
    found = shown.affinity
    places = {name: i for i, name in enumerate(found.names)}
    ranks = [[places[source] for source, _ in found.rank(name).sources] for name in found.names]
    return {
        "names": [printable(name) for name in found.names],
        "by": worded(found.by),
        "rankedBy": worded(found.ranks_by),
        "target": places[shown.target],
        "matrix": _plain(found.matrix),
        "errors": None if found.errors is None else _plain(found.errors),
        "ranks": ranks,
        "values": None if found.ranks_by == found.by else _plain(found.scores[found.ranks_by]),
        "sure": {str(places[name]): _certainty_of(one, places) for name, one in found.certainty.items()},
        **_tree(found),
        "gallery": _gallery(shown.gallery),
        "evaluation": None if shown.evaluation is None else _evaluation(shown.evaluation),
    }


def worded(score: str) -> str:
    """A score's name for people."""
    return "affinity" if score == "attribution" else printable(score)


def _plain(values: NDArray[np.float64]) -> list[Any]:
    """Rounded numbers in lists of lists, null for NaN."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [round(value, _DIGITS) if math.isfinite(value) else None for value in values.tolist()]


def _certainty_of(one: Any, places: Mapping[str, int]) -> dict[str, Any]:
    rows = {str(places[s.source]): [s.low, s.high, s.ahead] for s in one.sources if s.source in places}
    rounded = {place: [None if v is None else round(v, 4) for v in row] for place, row in rows.items()}
    return {"rows": rounded, "settled": one.settled, "images": one.images, "level": one.level}


def _tree(found: Affinity) -> dict[str, Any]:
    """The order of the leaves, the lines of the tree, and the plane; nothing where a pair has no number or there is no pair."""
    count = len(found.names)
    if count < 2 or np.isnan(found.matrix).any():
        return {"order": list(range(count)), "tree": None, "plane": None}
    joined = found.tree()
    drawn = dendrogram(joined, no_plot=True)
    flat = plane(found.matrix)
    lines = {"across": _plain((np.array(drawn["icoord"]) - 5) / 10), "height": _plain(np.array(drawn["dcoord"]))}
    return {
        "order": [int(leaf) for leaf in drawn["leaves"]],
        "tree": lines | {"joins": _plain(joined)},
        "plane": {"points": _plain(flat.points), "share": round(flat.share, 4), "stress": round(flat.stress, 4)},
    }


def _gallery(found: Gallery | None) -> dict[str, Any] | None:
    """The pictures themselves stand in the page."""
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
    return {name: _plain(np.asarray(values)) for name, values in lines}
