"""The text that `onnxspace explain --faithfulness` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxspace.cli.text.lines import one_line, table_width, wrap
from onnxspace.evaluation.faithfulness.result import Faithfulness, Figure, ModelFaithfulness
from onnxspace.inputs.faithfulness import Measure

_HEADS: dict[Measure, str] = {
    "deletion": "deletion", "insertion": "insertion", "infidelity": "infidelity", "sensitivity": "sensitivity",
    "randomisation": "randomised", "pointing": "pointing",
}  # fmt: skip
_NAME, _CELL = 20, 12


def format_faithfulness(found: Faithfulness) -> Iterator[str]:
    """Yield the lines of a table per model, and how it is read; columns that do not fit the terminal follow below."""
    for model in found.models:
        yield from _format_model(model, int(found.probe["images"]))
        yield ""
        for sentence in model.unchanged():
            yield from wrap(one_line(sentence))
    pointing = any("pointing" in model.measures for model in found.models)
    yield from wrap(
        f"Means over images ± half a 95 % interval. Larger is better of insertion{' and pointing' if pointing else ''}, "
        "smaller of the others. * better than a random map on the same images."
    )


def _format_model(model: ModelFaithfulness, images: int) -> Iterator[str]:
    count = f"{images} image{'s' if images > 1 else ''}"
    yield from wrap(
        one_line(f"{model.model.name}: {count}; maps explain {model.explained}, curves follow {model.followed}"), rest="  "
    )
    columns = max(1, (table_width() - _NAME) // _CELL)
    for first in range(0, len(model.measures), columns):
        yield from _format_columns(model, model.measures[first : first + columns])


def _format_columns(model: ModelFaithfulness, measures: Sequence[Measure]) -> Iterator[str]:
    figures = [model.figures(name) for name in measures]
    yield (f"{'':<{_NAME}}" + "".join(f"{_head(name):>{_CELL}}" for name in measures)).rstrip()
    for place, name in enumerate(model.rows):
        yield (f"{name:<{_NAME}}" + "".join(f"{_cell(column[place]):>{_CELL}}" for column in figures)).rstrip()


def _head(measure: Measure) -> str:
    return f"{_HEADS[measure]} "


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "– "
    half = "" if figure.low is None or figure.high is None else f"±{_short((figure.high - figure.low) / 2)}"
    return f"{_short(figure.mean)}{half}{'*' if figure.beats_random else ' '}"


def _short(value: float) -> str:
    """Three decimals without the zero before them, and fewer from 10 on.

    >>> _short(0.25), _short(-0.5), _short(12.345)
    ('.250', '-.500', '12.3')
    """
    if abs(value) >= 10:
        return f"{value:.3g}"
    text = f"{value + 0.0:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text
