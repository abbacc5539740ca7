"""The study's tables, read again: all that the page and its pictures are made of."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.study.evaluation import MEASURES, Oracle
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.training.jobs import MAIN
from models.minitaskonomy.zoo import sort_by_group

Values = NDArray[np.float64]
Row = dict[str, str]


@dataclass(frozen=True)
class Measurement:
    """A line of measures.csv: means and interval ends by measure."""

    kind: str
    score: str
    options: str
    probe: str
    images: int
    group: str
    targets: int
    mean: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]

    @property
    def label(self) -> str:
        return f"{self.score}, {self.options}" if self.options else self.score


@dataclass(frozen=True)
class Key:
    """Which matrix of scores.csv."""

    score: str
    options: str
    probe: str
    images: int


@dataclass(frozen=True)
class Results:
    """The tables of `folder`."""

    folder: Path

    @cached_property
    def measures(self) -> list[Measurement]:
        return [_parse_measurement(row) for row in _read_rows(self.folder / "measures.csv")]

    @cached_property
    def choices(self) -> list[Row]:
        return _read_rows(self.folder / "choosing.csv")

    @cached_property
    def fingerprints(self) -> list[Row]:
        return _read_rows(self.folder / "fingerprints.csv")

    @cached_property
    def targets(self) -> list[str]:
        """Tasks, group after group."""
        there = {row["target"] for row in _read_rows(self.folder / "oracle.csv")}
        return [name for name in sort_by_group({name: task.group for name, task in TASKS.items()}) if name in there]

    @cached_property
    def sources(self) -> list[str]:
        """The targets' own models, then the others."""
        there = {row["source"] for row in _read_rows(self.folder / "oracle.csv")}
        return [*self.targets, *sorted(there - set(self.targets), key=lambda name: (name.partition("-")[2], name))]

    @cached_property
    def oracle(self) -> Oracle:
        return Oracle.read(self.folder / "oracle.csv", self.targets, self.sources)

    @cached_property
    def finetuned(self) -> Oracle | None:
        """The oracle by fine-tuning, of some targets; None where it was not measured."""
        file = self.folder / "finetuned.csv"
        if not file.exists():
            return None
        there = {row["target"] for row in _read_rows(file)}
        return Oracle.read(file, [name for name in self.targets if name in there], self.sources)

    @cached_property
    def values(self) -> dict[Key, Values]:
        """Matrices [targets, sources] of scores.csv."""
        down, across = ({name: i for i, name in enumerate(names)} for names in (self.targets, self.sources))
        found: dict[Key, Values] = {}
        for row in _read_rows(self.folder / "scores.csv"):
            key = Key(row["score"], row["options"], row["probe"], int(row["images"]))
            matrix = found.setdefault(key, np.full((len(down), len(across)), np.nan))
            matrix[down[row["target"]], across[row["source"]]] = float(row["value"])
        return found

    @property
    def main(self) -> NDArray[np.bool_]:
        """Which sources are of the main group."""
        return np.array([name in self.targets for name in self.sources])

    @property
    def probes(self) -> list[str]:
        return list(dict.fromkeys(one.probe for one in self.measures if one.kind == "features"))

    def find(self, score: str, options: str = "", probe: str | None = None, group: str = "tasks") -> list[Measurement]:
        """Lines of a score, fewest images first."""
        some = [one for one in self.measures if (one.score, one.options, one.group) == (score, options, group)]
        return sorted((one for one in some if probe is None or one.probe == probe), key=lambda one: one.images)

    def last(self, score: str, options: str = "", probe: str | None = None, group: str = "tasks") -> Measurement | None:
        """A score at the most images."""
        found = self.find(score, options, probe, group)
        return found[-1] if found else None

    def key(self, one: Measurement) -> Key:
        return Key(one.score, one.options, one.probe, one.images)

    def best(self, kinds: Sequence[str], group: str = "tasks", measure: str = "tau") -> Measurement | None:
        """The line of the largest mean among scores of these kinds."""
        some = [one for one in self.measures if one.kind in kinds and one.group == group and one.images >= 16]
        some = [one for one in some if one.targets == len(self.targets)]
        return max(some, key=lambda one: one.mean[measure], default=None)


def _read_rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _parse_measurement(row: Row) -> Measurement:
    parts = ({m: float(row[f"{m}{end}"]) for m in MEASURES} for end in ("", " low", " high"))
    said = (row["kind"], row["score"], row["options"], row["probe"], int(row["images"]), row["group"], int(row["targets"]))
    return Measurement(*said, *parts)


def name_architecture(source: str) -> str:
    """Of a source, by its file's name."""
    return source.partition("-")[2] or MAIN
