"""The table of losses, `oracle.csv`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.storage.atomic import whole_file

Losses = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """Losses of `oracle.csv`: float64 [targets, sources, seeds], NaN where a row is missing."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    losses: Losses

    @classmethod
    def read(cls, path: Path) -> Table:
        """The table in a file that `measure` wrote."""
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["target"], row["source"], int(row["seed"]), float(row["loss"])) for row in csv.DictReader(file)]
        targets, sources = tuple(dict.fromkeys(row[0] for row in rows)), tuple(dict.fromkeys(row[1] for row in rows))
        losses = np.full((len(targets), len(sources), 1 + max(row[2] for row in rows)), np.nan)
        for target, source, seed, loss in rows:
            losses[targets.index(target), sources.index(source), seed] = loss
        return cls(targets, sources, losses)

    def write_matrix(self, path: Path) -> None:
        """Means over seeds as `onnxspace evaluate --oracle` takes them: targets down, sources across, 1 − loss."""
        with whole_file(path) as partial, partial.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("target", *self.sources))
            for name, row in zip(self.targets, 1.0 - self.losses.mean(2), strict=True):
                out.writerow((name, *(f"{value:.5f}" for value in row)))

    def candidates(self, wanted: Callable[[str], bool] = lambda _name: True) -> NDArray[np.bool_]:
        """Sources that a target may choose from, bool [targets, sources]: `wanted` by name, and not the target's own model."""
        return np.array([[wanted(source) and source != target for source in self.sources] for target in self.targets])
