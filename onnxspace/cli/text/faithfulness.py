"""The text that `onnxspace explain --faithfulness` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxspace.cli.text.lines import one_line, table_width, wrap
from onnxspace.evaluation.faithfulness.result import Faithfulness, Figure, ModelFaithfulness
from onnxspace.inputs.faithfulness import LARGER_IS_BETTER, MEASURES, Measure

_HEADS: dict[Measure, str] = {
    "deletion": "deletion", "insertion": "insertion", "infidelity": "infidelity", "sensitivity": "sensitivity",
    "randomisation": "randomised", "pointing": "pointing", "mass": "mass", "ranks": "ranks",
}  # fmt: skip
_NAME, _CELL = 20, 12


def format_faithfulness(found: Faithfulness) -> Iterator[str]:
    """Yield the lines of a table per model, and how it is read; columns that do not fit the terminal follow below."""
    for model in found.models:
        yield from _format_model(model, int(found.probe["images"]))
        yield ""
        for sentence in model.unchanged():
            yield from wrap(one_line(sentence))
    yield from wrap(_explain_table({name for model in found.models for name in model.measures}))


def _explain_table(measures: set[Measure]) -> str:
    """How tables are read."""
    larger = [_HEADS[name] for name in MEASURES if name in measures & LARGER_IS_BETTER]
    smaller = [_HEADS[name] for name in MEASURES if name in measures - LARGER_IS_BETTER - {"randomisation"}]
    parts = [f"{word} is better of {_join(names)}" for word, names in (("larger", larger), ("smaller", smaller)) if names]
    parts += ["randomised near 1 shows a map that the weights do not change"] if "randomisation" in measures else []
    return f"Means over images ± half a 95 % interval: {'; '.join(parts)}. * better than a random map on the same images."


def _join(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _format_model(model: ModelFaithfulness, images: int) -> Iterator[str]:
    count = f"{images} image{'s' if images > 1 else ''}"
    yield from wrap(
        one_line(f"{model.title}: {count}; maps explain {model.explained}, curves follow {model.followed}"), rest="  "
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
