"""The text that `onnxspace explain --faithfulness` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxspace.cli.text.lines import one_line, table_width, wrap
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.result import Figure, ModelFaithfulness
from onnxspace.evaluation.faithfulness.table import HEADS, format_figure
from onnxspace.inputs.faithfulness import LARGER_IS_BETTER, MEASURES, Measure

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
    larger = [HEADS[name] for name in MEASURES if name in measures & LARGER_IS_BETTER]
    smaller = [HEADS[name] for name in MEASURES if name in measures - LARGER_IS_BETTER - {"randomisation"}]
    parts = [f"for {_join(names)}, {word} is better" for word, names in (("larger", larger), ("smaller", smaller)) if names]
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
    yield (f"{'':<{_NAME}}" + "".join(f"{HEADS[name] + ' ':>{_CELL}}" for name in measures)).rstrip()
    for place, name in enumerate(model.rows):
        yield (f"{name:<{_NAME}}" + "".join(f"{_align(column[place]):>{_CELL}}" for column in figures)).rstrip()


def _align(figure: Figure | None) -> str:
    """The figure's text, with a space in the place of a star that it lacks."""
    text = format_figure(figure)
    return text if text.endswith("*") else f"{text} "
