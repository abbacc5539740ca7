"""The figures of one model's maps as a small table: what pages, notebooks and the command line show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxspace.evaluation.faithfulness.result import Figure, ModelFaithfulness
from onnxspace.inputs.faithfulness import LARGER_IS_BETTER, Measure

#: How measures are called where they head a column.
HEADS: dict[Measure, str] = {
    "deletion": "deletion", "insertion": "insertion", "infidelity": "infidelity", "sensitivity": "sensitivity",
    "randomisation": "randomised", "pointing": "pointing", "mass": "mass", "ranks": "ranks",
}  # fmt: skip


@dataclass(frozen=True)
class FaithfulnessRow:
    """A method, or a map of `chance`: its `name`, and a cell for each measure."""

    name: str
    chance: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class FaithfulnessTable:
    """A table without markup: its `title`, `columns` with an arrow towards what is better, `rows`, and `remarks`, sentences below it.

    `explained` and `followed` say what maps attribute and what curves follow.
    """

    title: str
    explained: str
    followed: str
    columns: tuple[str, ...]
    rows: tuple[FaithfulnessRow, ...]
    remarks: tuple[str, ...]


def tabulate(found: ModelFaithfulness, methods: Sequence[str] | None = None) -> FaithfulnessTable:
    """Return the figures of all methods of a model, or of some of them, and of the maps of chance.

    Randomisation has no arrow: how much of a map is left is a check, and no rank of methods.

    >>> tabulate(found).rows[0].cells[0]  # doctest: +SKIP
    '.060±.010*'
    """
    figures = [found.figures(name) for name in found.measures]
    rows = tuple(
        FaithfulnessRow(name, name not in found.methods, tuple(format_figure(column[place]) for column in figures))
        for place, name in enumerate(found.rows)
        if methods is None or name in methods or name not in found.methods
    )
    columns = tuple(HEADS[name] + _arrow(name) for name in found.measures)
    return FaithfulnessTable(found.title, found.explained, found.followed, columns, rows, found.unchanged())


def _arrow(measure: Measure) -> str:
    if measure == "randomisation":
        return ""
    return " ↑" if measure in LARGER_IS_BETTER else " ↓"


def format_figure(figure: Figure | None) -> str:
    """A mean ± half of its interval, with `*` where it is better than the random map; a dash for none.

    >>> format_figure(Figure(0.25, 0.2, 0.3, 12, beats_random=True))
    '.250±.050*'
    """
    if figure is None:
        return "–"
    half = "" if figure.low is None or figure.high is None else f"±{_shorten((figure.high - figure.low) / 2)}"
    return f"{_shorten(figure.mean)}{half}{'*' if figure.beats_random else ''}"


def _shorten(value: float) -> str:
    """Three decimals without the zero before them, and fewer from 10 on.

    >>> _shorten(0.25), _shorten(-0.5), _shorten(12.345)
    ('.250', '-.500', '12.3')
    """
    if abs(value) >= 10:
        return f"{value:.3g}"
    text = f"{value + 0.0:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text
