"""The text that `onnxspace transfer` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxspace.cli.text.score import one_line

if TYPE_CHECKING:
    from onnxspace.scores.ratings import Ratings

_KINDS = {"classes": "{classes} classes", "multilabel": "{targets} labels each", "regression": "{targets} targets each"}


def table(found: Ratings) -> Iterator[str]:
    """Lines of the table: models ordered by the first score, each value with its rank by that score."""
    yield f"Scores on {_data(found)}; larger is better, ranks in brackets"
    yield ""
    first = found.scores[0]
    places = {score: found.places(score) for score in found.scores}
    order = sorted(range(len(found.names)), key=lambda i: places[first].get(found.names[i], math.inf))
    columns = {score: [_cell(found, score, i, places[score]) for i in order] for score in found.scores}
    if found.known is not None:
        columns["mean rank elsewhere"] = [f"{found.known[i]:.3g}" if not math.isnan(found.known[i]) else "-" for i in order]
    wide = max(len(one_line(name)) for name in found.names)
    widths = {score: max(len(score), *map(len, cells)) for score, cells in columns.items()}
    yield " " * wide + "".join(f"  {score:>{widths[score]}}" for score in columns)
    for row, i in enumerate(order):
        yield f"{one_line(found.names[i]):<{wide}}" + "".join(f"  {cells[row]:>{widths[s]}}" for s, cells in columns.items())
    if found.ensemble is not None:
        yield from _ensemble_lines(found)


def static_baseline_note(found: Ratings) -> Iterator[str]:
    """A hint at the static baseline, where no table of results on other datasets was given."""
    if found.known is None:
        yield (
            "These scores don't use results on other datasets: on a common benchmark, the models' mean rank there predicts better"
            " than any score here (docs/reproduction.md). --known shows it."
        )


def _data(found: Ratings) -> str:
    facts = found.data
    missing = f", {facts['missing']} of them without a label" if facts["missing"] else ""
    return f"{facts['images']} images{missing}, {_KINDS[facts['kind']].format(**facts)} ({one_line(facts['name'])})"


def _cell(found: Ratings, score: str, model: int, places: dict[str, int]) -> str:
    value, name = found.values[score][model], found.names[model]
    return f"{value:.4g} ({places[name]})" if name in places else "-"


def _ensemble_lines(found: Ratings) -> Iterator[str]:
    assert found.ensemble is not None
    steps = zip(found.ensemble.models, found.ensemble.scores, strict=True)
    yield ""
    yield "Together (SFDA after each): " + ", ".join(f"{one_line(name)} {value:.4g}" for name, value in steps)


def assumptions(found: Ratings) -> Iterator[str]:
    """The assumptions on each model, a line each."""
    for model in found.models:
        if model.assumed:
            yield f"assumed for {one_line(model.name)}: {one_line('; '.join(model.assumed))}"


def remarks(found: Ratings) -> Iterator[str]:
    """Warnings, and why a value is missing, a line each."""
    for warning in found.warnings:
        yield f"warning: {one_line(warning)}"
    for (score, model), error in found.why.items():
        yield f"warning: no {score} for {one_line(model)}: {one_line(error)}"
