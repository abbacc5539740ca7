"""A table of values for pairs of a target and a source: ground truth or predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import TableError
from onnxspace.evaluation.reading import read_table
from onnxspace.storage.data_frames import make_matrix_frame
from onnxspace.storage.short_text import count, join_lines

Numbers = NDArray[np.float64]
_NAMED = 8


@dataclass(frozen=True, eq=False)
class Table:
    """`values[i, j]` is how good source j is for target i: float64 [targets, sources], larger is better, NaN where unknown.

    Names are unique along each side; the same name on both sides is the same model. `origin` is the file, for messages.
    In an `ordinal` table only the order of values matters, as they are ranks; `losses` are values that the file has with the other sign. Raises TableError for repeated names, and where
    the shape of `values` does not match the names.
    """

    name: str
    origin: str
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    values: Numbers
    ordinal: bool = False
    losses: bool = False

    def __post_init__(self) -> None:
        for side, names in (("target", self.targets), ("source", self.sources)):
            twice = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
            if twice:
                raise TableError(f"{self.origin} has more than one {side} called {twice[0]}. List each name once.")
        if self.values.shape != (len(self.targets), len(self.sources)):
            raise TableError(
                f"{self.origin} has {self.values.shape} values for {len(self.targets)} × {len(self.sources)} names."
            )

    def __repr__(self) -> str:
        there = int(np.isfinite(self.values).sum())
        sides = f"{count(len(self.targets), 'target')} × {count(len(self.sources), 'source')}"
        return join_lines(f"Table {self.name!r} ({self.origin}): {sides}, {count(there, 'value')}")

    def to_dataframe(self) -> Any:
        """Return the values as a pandas DataFrame with targets as rows, sources as columns, NaN where unknown.

        The table's name is that of the columns. Raises MissingLibraryError where pandas is not installed.

        >>> Table.read("known.csv").to_dataframe().idxmax(axis=1)  # doctest: +SKIP
        """
        return make_matrix_frame(self.values, self.targets, self.sources, self.name)

    @classmethod
    def read(cls, path: str | Path) -> Table:
        """Read a table from the CSV or JSON file `path`, in any of the layouts that docs/evaluation.md lists. Raises TableError.

        >>> Table.read("known.csv").sources  # doctest: +SKIP
        ('a', 'b')
        """
        return cls(*read_table(Path(path)))

    def renamed(self, aliases: Mapping[str, str]) -> Table:
        """Return the table with names replaced by `aliases` on both sides. Raises TableError where two names become one.

        >>> table = Table("known", "known.csv", ("x", "y"), ("a", "b"), np.array([[0.1, 0.2], [0.3, 0.4]]))
        >>> table.renamed({"a": "other"}).sources
        ('other', 'b')
        """
        targets, sources = (tuple(aliases.get(name, name) for name in names) for names in (self.targets, self.sources))
        return replace(self, targets=targets, sources=sources)

    def negated(self) -> Table:
        """Return the table with negated values, for losses, ranks and distances, where smaller is better.

        >>> table = Table("known", "known.csv", ("x", "y"), ("a", "b"), np.array([[0.1, 0.2], [0.3, 0.4]]))
        >>> table.negated().values.tolist()
        [[-0.1, -0.2], [-0.3, -0.4]]
        """
        return replace(self, values=-self.values)

    def transposed(self) -> Table:
        """Return the table with targets and sources exchanged.

        >>> table = Table("known", "known.csv", ("x", "y"), ("a", "b"), np.array([[0.1, 0.2], [0.3, 0.4]]))
        >>> table.transposed().targets
        ('a', 'b')
        """
        return replace(self, targets=self.sources, sources=self.targets, values=self.values.T)

    def grid(self, targets: Sequence[str], sources: Sequence[str]) -> Numbers:
        """Return the values of `targets` and `sources`, in their order: float64 [targets, sources], NaN for names that the table lacks.

        >>> table = Table("known", "known.csv", ("x", "y"), ("a", "b"), np.array([[0.1, 0.2], [0.3, 0.4]]))
        >>> table.grid(["y"], ["b", "c"]).tolist()
        [[0.4, nan]]
        """
        rows, columns = ({name: i for i, name in enumerate(names)} for names in (self.targets, self.sources))
        found = np.full((len(targets), len(sources)), np.nan)
        here = [(i, rows[name]) for i, name in enumerate(targets) if name in rows]
        there = [(j, columns[name]) for j, name in enumerate(sources) if name in columns]
        if here and there:
            (into_i, from_i), (into_j, from_j) = zip(*here, strict=True), zip(*there, strict=True)
            found[np.ix_(into_i, into_j)] = self.values[np.ix_(from_i, from_j)]
        return found


def join_names(names: Sequence[str]) -> str:
    """Join names for a sentence: the first eight, and how many more there are.

    >>> join_names(["a", "b", "c"])
    'a, b and c'
    """
    shown, more = list(names[:_NAMED]), len(names) - _NAMED
    last = f"{more} more" if more > 0 else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last
