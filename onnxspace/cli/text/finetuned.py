"""The text of a ranking by fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import align, one_line, wrap
from onnxspace.similarity.reliability import describe_reliability
from onnxspace.storage.short_text import count, describe_images

if TYPE_CHECKING:
    from onnxspace.scores.finetuned import FineTunedModel, FineTuneRanking

_RESULTS = {"classes": "accuracy", "answers": "agreement", "multilabel": "labels right", "regression": "R²"}
_TASKS = {"classes": "labels", "answers": "the answers of {target}", "multilabel": "labels", "regression": "numbers"}


def table(found: FineTuneRanking) -> Iterator[str]:
    """Lines of the table: models, best first, with the result on held-out images, its interval and how it was measured."""
    settings, what = found.settings, _TASKS[found.task].format(target=one_line(str(found.data.get("target", ""))))
    images = one_line(describe_images(found.data))
    time = f"{settings['seconds']:.0f} s on {count(settings['workers'], 'process', 'processes')}"
    yield from wrap(f"Ranked by fine-tuning every network on {what} of {images}")
    yield from wrap(f"evidence: finetuned; {time}; places of one bracket can't be told apart")
    yield from wrap(_ORDER[bool(settings["frozen"])])
    yield from wrap(describe_reliability("finetuned", "answers" if found.task == "answers" else "labels"))
    yield ""
    rows = [
        ["place", "bracket", "model", _RESULTS[found.task], "95 % interval", "loss", "epochs", "folds", "frozen"],
        *(_cells(m) for m in found.models),
        ["", "", "a constant answer", f"{found.constant:.3f}", "", "", "", "", ""],
    ]
    if found.settings["frozen"]:
        rows = [row[:-1] for row in rows]
    yield from align(rows, _NAME)


_ORDER = {
    False: "order: the mean rank by results and by training losses, then by readouts of the frozen network (column frozen)",
    True: "order: the mean rank by results and by losses",
}
_NAME = 2  # the column of the models' names


def _cells(model: FineTunedModel) -> list[str]:
    return [
        str(model.place), str(model.bracket), one_line(model.record.name), f"{model.result:.3f}",
        f"{model.low:.3f} to {model.high:.3f}", f"{model.loss:.3f}", str(model.epochs), str(model.runs),
        "n/a" if model.readout is None else f"{model.readout:.3f}",
    ]  # fmt: skip


def remarks(found: FineTuneRanking) -> Iterator[str]:
    """Warnings, a line each."""
    for warning in found.warnings:
        yield f"warning: {one_line(warning)}"
