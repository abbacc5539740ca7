"""The text that `onnxspace transfer` prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import align, least_width, one_line, table_width, wrap
from onnxspace.storage.short_text import count

if TYPE_CHECKING:
    from onnxspace.scores.ratings import Ratings

#: Kind of task → the fact that counts what it has, and its noun.
_KINDS = {
    "classes": ("classes", "class", "classes"),
    "multilabel": ("targets", "label each", "labels each"),
    "regression": ("targets", "target each", "targets each"),
}


def table(found: Ratings) -> Iterator[str]:
    """Lines of the table: models as they are ranked, each value with its interval and place, and what chance gives.

    Places by each score are left out where there is no room for them.
    """
    rows = [_head(found), *_rows(found, _cell), *_comparison_rows(found)]
    whole = least_width(rows, _NAME) <= table_width()
    yield from wrap(f"Ranked by {found.basis.words} on {_data(found)}; evidence: {found.basis.evidence}")
    best = "A mean rank of 1 is best; of scores, the largest" if found.basis.is_mean_rank else "Larger is better"
    places = ", place in brackets" if whole else ""
    yield from wrap(f"{best} (± half a 95 % interval{places}). Sources of one bracket can't be told apart.")
    yield ""
    yield from align(rows if whole else [_head(found), *_rows(found, _short_cell), *_comparison_rows(found)], _NAME)
    yield ""
    yield from wrap(f"This ranks readouts of frozen networks; --by finetune ranks fine-tuning. {found.reliability}")
    if found.findings:
        yield ""
        for finding in found.findings:
            yield from wrap(one_line(finding))
    if found.ensemble is not None:
        yield from _ensemble_lines(found)


_NAME = 2  # the column of the models' names
#: Ratings, score, number of the model, and places by that score → the text of a cell.
Cell = Callable[["Ratings", str, int, dict[str, int]], str]


def _columns(found: Ratings) -> list[str]:
    """The scores, those that rank first."""
    return [*found.basis.scores, *(score for score in found.scores if score not in found.basis.scores)]


def _head(found: Ratings) -> list[str]:
    value = ["mean rank"] if found.basis.is_mean_rank else []
    return ["place", "bracket", "model", *value, *_columns(found), *([] if found.known is None else ["mean rank elsewhere"])]


def _rows(found: Ratings, describe: Cell) -> Iterator[list[str]]:
    """A row of cells per model; those that could not be ranked come last."""
    ranked = {one.source: one for one in found.ranked}
    places = {score: found.places(score) for score in found.scores}
    rest = [name for name in found.names if name not in ranked]
    for name in (*ranked, *rest):
        i, one = found.names.index(name), ranked.get(name)
        mark = "*" if one is not None and one.above_constant is False else ""
        value = [] if not found.basis.is_mean_rank else ["-" if one is None else f"{one.value:.3g}"]
        yield [
            "-" if one is None else str(one.place), "-" if one is None or one.bracket is None else str(one.bracket),
            one_line(name) + mark, *value, *(describe(found, score, i, places[score]) for score in _columns(found)),
            *([] if found.known is None else [_format(found.known[i])]),
        ]  # fmt: skip


def _comparison_rows(found: Ratings) -> Iterator[list[str]]:
    """What each score gives for labels in random order, and for a constant answer."""
    compared = {"chance": found.results.chance, "a constant answer": found.results.constant}
    for words, values in compared.items():
        if values and (words != "chance" or found.data["kind"] == "classes"):
            cells = [f"{values[score]:.4g}" if score in values else "" for score in _columns(found)]
            yield ["", "", words, *[""] * found.basis.is_mean_rank, *cells, *([] if found.known is None else [""])]


def static_baseline_note(found: Ratings) -> Iterator[str]:
    """A hint at the static baseline, where models are ranked without a table of results on other datasets."""
    if found.ranked and found.known is None:
        yield (
            "This ranking doesn't use results on other datasets: on a common benchmark, the mean rank there predicts better"
            " than any score here (docs/reproduction.md). --known adds it."
        )


def _data(found: Ratings) -> str:
    facts = found.data
    missing = f", {facts['missing']} of them without a label" if facts["missing"] else ""
    kind = count(facts[_KINDS[facts["kind"]][0]], *_KINDS[facts["kind"]][1:])
    return f"{count(facts['images'], 'image')}{missing}, {kind} ({one_line(facts['name'])})"


def _cell(found: Ratings, score: str, model: int, places: dict[str, int]) -> str:
    value, name = found.values[score][model], found.names[model]
    if name not in places:
        return "-"
    ends = found.results.intervals[score][model] if score in found.results.intervals else None
    error = "" if ends is None else f" ±{(ends[1] - ends[0]) / 2:.2g}"
    return f"{value:.4g}{error} ({places[name]})"


def _short_cell(found: Ratings, score: str, model: int, places: dict[str, int]) -> str:
    """The value in three digits with its interval, without the place."""
    value = found.values[score][model]
    if found.names[model] not in places:
        return "-"
    ends = found.results.intervals[score][model] if score in found.results.intervals else None
    return f"{value:.3g}" + ("" if ends is None else f"±{(ends[1] - ends[0]) / 2:.2g}")


def _format(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _ensemble_lines(found: Ratings) -> Iterator[str]:
    assert found.ensemble is not None
    steps = zip(found.ensemble.models, found.ensemble.scores, strict=True)
    yield ""
    added = ", ".join(f"{one_line(name)} {value:.4g}" for name, value in steps)
    yield from wrap(f"Together (SFDA after each): {added}", rest="  ")


def remarks(found: Ratings) -> Iterator[str]:
    """Warnings, and why a value is missing, a line each."""
    for warning in found.warnings:
        yield f"warning: {one_line(warning)}"
    for (score, model), error in found.why.items():
        yield f"warning: no {score} for {one_line(model)}: {one_line(error)}"
