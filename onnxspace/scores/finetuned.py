"""The result of fine-tuning models in small: how well each one does on held-out images, and the ranking that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.scores.display import describe_finetuned, render_finetuned
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import describe_reliability
from onnxspace.storage.csv_text import format_csv
from onnxspace.storage.data_frames import NUMBER, TEXT, WHOLE, make_frame

SCHEMA = "onnxspace/finetune/1"
#: Level of intervals, and resamples of the held-out images.
LEVEL, RESAMPLES = 0.95, 1000
_COLUMNS = (
    "place", "bracket", "value", "result", "low", "high", "loss", "epochs", "runs", "seconds", "readout", "elsewhere",
)  # fmt: skip
_WHOLE = ("place", "bracket", "epochs", "runs")


@dataclass(frozen=True)
class Point:
    """One measurement on a learning curve: the mean `result` and `loss` of the held-out images of `fold` after `epochs`."""

    fold: int
    epochs: int
    result: float
    loss: float


@dataclass(frozen=True, eq=False)
class FineTunedModel:
    """One fine-tuned model.

    `place` is its place in the ranking, from 1; places of one `bracket` can't be told apart. `value` orders the models (larger is
    better): 1 for the first, 0 for the last. `result` is the mean over held-out images, with the 95 % interval from `low` to
    `high`; `loss` the mean loss. They were measured after `epochs` on `runs` held-out folds. `seconds` is the time of training, `curve` what was measured on the way.
    `readout` is the mean result of cross-validated readouts of the frozen network, None where only these were asked for,
    `elsewhere` its mean rank on other datasets, 1 is best, where it is known.
    """

    record: ModelRecord
    place: int
    bracket: int
    value: float
    result: float
    low: float
    high: float
    loss: float
    epochs: int
    runs: int
    seconds: float
    curve: tuple[Point, ...]
    readout: float | None = None
    elsewhere: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as an object for `json.dumps`, the model by its name."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("record", "curve")}
        return {"source": self.record.name, **plain, "curve": [asdict(point) for point in self.curve]}


@dataclass(frozen=True, eq=False)
class FineTuneRanking:
    """The ranking by fine-tuning, best first.

    `data` describes the images and `task` what was learned: `classes`, `multilabel`, `regression`, or `answers` of a target network.
    `constant` is the result of the best constant answer. `settings` holds the schedule, seed, budget and the seconds that were used.
    """

    models: tuple[FineTunedModel, ...]
    task: str
    data: Mapping[str, Any]
    constant: float
    settings: Mapping[str, Any]
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.record.name for model in self.models)

    def to_csv(self) -> str:
        """Format as CSV with a row per model, best first.

        >>> Path("finetuned.csv").write_text(tried.to_csv())  # doctest: +SKIP
        """
        rows = [[model.record.name, *(_format(getattr(model, name)) for name in _COLUMNS)] for model in self.models]
        return format_csv([["model", *_COLUMNS], *rows])

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per model, best first, and the columns of `to_csv`.

        They are `model`, and the fields of `FineTunedModel`: `place`, `bracket`, `value` (1 for the first, 0 for the last), `result`
        with the interval from `low` to `high`, `loss`, `epochs`, `runs`, `seconds`, `readout`, `elsewhere`. Raises
        MissingLibraryError where pandas is not installed.

        >>> tried.to_dataframe()[["model", "result", "low", "high"]]  # doctest: +SKIP
        """
        columns = {"model": TEXT, **{name: WHOLE if name in _WHOLE else NUMBER for name in _COLUMNS}}
        return make_frame(columns, [(one.record.name, *(getattr(one, name) for name in _COLUMNS)) for one in self.models])

    def __repr__(self) -> str:
        return describe_finetuned(self.to_dict())

    def _repr_html_(self) -> str:
        """The ranking as a table, for notebooks."""
        return render_finetuned(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/finetune/1`, ready for `json.dumps`.

        >>> tried.to_dict()["ranking"][0]["source"]  # doctest: +SKIP
        'a'
        """
        return {
            "schema": SCHEMA, "by": "finetune", "evidence": "finetuned",
            "reliability": describe_reliability("finetuned", "answers" if self.task == "answers" else "labels"), "task": self.task, "data": dict(self.data),
            "constant": self.constant, "settings": dict(self.settings),
            "models": [asdict(model.record) for model in self.models],
            "ranking": [model.to_dict() for model in self.models],
            "failed": [asdict(failure) for failure in self.failed], "warnings": list(self.warnings),
        }  # fmt: skip


def _format(value: float | None) -> str:
    return "" if value is None else repr(value)


def resample_means(values: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Bootstrap means of per-image `values`, float64 [images] or [images, …] (Efron 1979); returns float64 [resamples, …]."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    return np.asarray(values[drawn].mean(axis=1))


def interval_of(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of per-image `values`.

    >>> interval_of([1.0, 1.0, 1.0])
    (1.0, 1.0)
    """
    low, high = np.quantile(resample_means(np.asarray(values, np.float64)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def group_places(results: Sequence[Mapping[int, Sequence[float]]]) -> list[int]:
    """Group places that can't be told apart; `results` hold per-image results by fold, in the order of the ranking.

    A model joins the bracket of the first model in it unless the 95 % interval of their paired difference, over the held-out
    images of the folds that both have, excludes 0. Returns a bracket for each place, from 1.

    >>> group_places([{0: [1, 1, 1, 1]}, {0: [1, 1, 1, 1]}, {0: [0, 0, 0, 0]}])
    [1, 1, 2]
    """
    brackets: list[int] = []
    first = 0
    for place, found in enumerate(results):
        if place and _differ(results[first], found):
            first = place
        brackets.append((brackets[-1] + (first == place)) if brackets else 1)
    return brackets


def _differ(one: Mapping[int, Sequence[float]], other: Mapping[int, Sequence[float]]) -> bool:
    shared = sorted(one.keys() & other.keys())
    pairs = [np.asarray(one[fold], np.float64) - np.asarray(other[fold], np.float64) for fold in shared]
    if not pairs:
        return False
    low, high = interval_of(np.concatenate(pairs).tolist())
    return low > 0 or high < 0
