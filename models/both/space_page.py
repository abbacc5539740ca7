"""The tables of docs/fingerprints.md on rankings by a space, from models/both/space.csv and the truth of both zoos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.both.comparison import Zoo, format_rows
from models.both.page import read_zoos
from models.both.spaces import DETAILS, RankedSource, read_rows
from models.realzoo.study import KINDS, Kind
from onnxspace.evaluation import Evaluation, Scored, Table, bootstrap, evaluate
from onnxspace.evaluation.result import Measure
from onnxspace.storage.atomic import whole_file

BEGIN, END = "<!-- transfers: written by `python -m benchmarks.space_transfers` -->", "<!-- end of transfers -->"
ORDER = ("score", *DETAILS)
_WORDS = {"score": "`score`", "images": "a space, `images`", "pictures": "a space, `pictures`"}
_TRANSFERS: dict[Kind, str] = {"frozen": "readouts of frozen networks", "finetuned": "fine-tuning"}
_HEAD = (
    "zoo", "targets", "pictures", "ranked by", "weighted τ", "P@3", "regret", "τ lost against `score`", "KB per model, largest",
)  # fmt: skip


def select_by_image() -> frozenset[str]:
    """Targets of mini-Taskonomy whose outputs are answers per image and not pictures."""
    from models.minitaskonomy.oracle.sampling import is_dense
    from models.minitaskonomy.tasks import TASKS

    return frozenset(name for name, task in TASKS.items() if not is_dense(task))


def evaluate_rows(zoo: Zoo, kind: Kind, rows: Sequence[RankedSource]) -> Evaluation:
    """Hold the rankings of `rows`, which are of one number of pictures, against a truth of the zoo; candidates are the same for all."""
    truth = zoo.truths[kind].table(kind)
    return evaluate(truth, [_make_table(by, truth, [one for one in rows if one.by == by]) for by in ORDER])


def _make_table(by: str, truth: Table, rows: Sequence[RankedSource]) -> Table:
    values = np.full(truth.values.shape, np.nan)
    for one in rows:
        if one.target in truth.targets and one.source in truth.sources:
            values[truth.targets.index(one.target), truth.sources.index(one.source)] = one.value
    return Table(by, by, truth.targets, truth.sources, values)


def find_loss(found: Evaluation, by: str) -> tuple[float, float, float]:
    """How much smaller the weighted τ of `by` is than that of `score`: mean over targets, and its 95 % interval."""
    one, other = (_find_scored(found, name).measures["weighted_tau"].values for name in ("score", by))
    low, high = bootstrap.intervals(one - other)[:, 0]
    return float(bootstrap.mean(one - other)[0]), float(low), float(high)


def _find_scored(found: Evaluation, by: str) -> Scored:
    return next(one for one in found.scored if one.name == by)


def format_lines(zoo: Zoo, kind: Kind, rows: Sequence[RankedSource]) -> Iterator[list[str]]:
    """A line for each ranking and number of pictures; of mini-Taskonomy also of the targets with answers per image alone."""
    for count in sorted({one.images for one in rows}):
        some = [one for one in rows if one.images == count]
        groups = [("all", some)]
        if zoo.name != "realzoo":
            groups.append(("answers per image", [one for one in some if one.target in select_by_image()]))
        for words, group in groups:
            found = evaluate_rows(zoo, kind, group)
            for by in ORDER:
                sizes = [one.size for one in group if one.by == by]
                yield [
                    zoo.name,
                    f"{len(found.targets)}, {words}",
                    str(count),
                    _WORDS[by],
                    *_format(found, by, max(sizes)),
                ]


def _format(found: Evaluation, by: str, size: int) -> list[str]:
    measures = _find_scored(found, by).measures
    columns = (("weighted_tau", 0, 1, 3), ("precision", 2, 1, 2), ("regret", 0, 100, 1))
    cells = [_format_measure(measures[name], place, scale, digits) for name, place, scale, digits in columns]
    lost = "" if by == "score" else _format_interval(find_loss(found, by), 3)
    return [*cells, lost, "" if by == "score" else f"{size / 1024:.0f}"]


def _format_measure(one: Measure, place: int, scale: float, digits: int) -> str:
    return _format_interval((scale * one.mean[place], scale * one.low[place], scale * one.high[place]), digits)


def _format_interval(found: tuple[float, float, float], digits: int) -> str:
    mean, low, high = (f"{round(value, digits) + 0.0:.{digits}f}" for value in found)
    return f"{mean} [{low}, {high}]"


def format_tables(file: Path) -> str:
    """Both tables in Markdown, one for each kind of transfer."""
    rows, parts = read_rows(file), []
    for kind in KINDS[::-1]:
        lines = [
            line
            for zoo in read_zoos()
            if (mine := [one for one in rows if one.zoo == zoo.name])
            for line in format_lines(zoo, kind, mine)
        ]
        parts.append(f"Transfer by {_TRANSFERS[kind]}:\n\n{format_rows(_HEAD, lines)}")
    return "\n".join(parts)


def write_tables(file: Path, page: Path) -> None:
    """Put the tables between their marks in `page`. Raises ValueError where the marks are missing."""
    before, mark, rest = page.read_text("utf-8").partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{page} has no place for the tables, between {BEGIN} and {END}")
    with whole_file(page) as partial:
        partial.write_text(f"{before}{mark}{format_tables(file)}{end}{after}", "utf-8")
