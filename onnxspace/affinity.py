"""The result of a comparison: who was compared on what, how alike they are, and what follows from it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.methods import in_words
from onnxspace.rank import Linkage, Ranking, rank, tree

SCHEMA = "onnxspace/score/1"


@dataclass(frozen=True)
class ModelRecord:
    """One compared model: where it came from, what identifies it, and what nobody stated."""

    name: str
    path: str
    sha256: str
    encoder: str
    input: str
    opset: int
    producer: str
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A model that could not be compared, and why."""

    path: str
    error: str


@dataclass(frozen=True, eq=False)
class Affinity:
    """`matrix[i, j]` is the mean cosine of the maps of models i and j: float64 [models, models], larger is more alike.

    `options` holds what `method` was told besides its name, such as `{"baseline": "black"}`. `errors` holds standard errors
    like `matrix`, 0 where an affinity comes from whole maps; it is None where all do.
    """

    models: tuple[ModelRecord, ...]
    matrix: NDArray[np.float64]
    method: str
    probe: Mapping[str, Any]
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    options: Mapping[str, Any] = field(default_factory=dict)
    errors: NDArray[np.float64] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)

    @property
    def method_words(self) -> str:
        """The method and what it was told, for titles: `integrated-gradients (baseline black, steps 50)`."""
        return f"{self.method} ({in_words(self.options)})" if self.options else self.method

    def rank(self, target: str) -> Ranking:
        """Sources for `target` (a name or a path), best first. Raises ConfigError for a model that is not there."""
        by_path = {model.path: model.name for model in self.models}
        name = target if target in self.names else by_path.get(target)
        if name is None:
            raise ConfigError(f"No compared model is called {target!r}; there are {', '.join(self.names) or 'none'}.")
        return rank(self.names, self.matrix, name)

    def tree(self, linkage: Linkage = "average") -> NDArray[np.float64]:
        """The similarity tree as a SciPy linkage matrix."""
        return tree(self.matrix, linkage)

    def to_csv(self) -> str:
        """The matrix with names along both sides; numbers round-trip exactly."""
        rows = [["", *self.names], *([n, *map(repr, row.tolist())] for n, row in zip(self.names, self.matrix, strict=True))]
        return _csv(rows)

    def rankings_csv(self) -> str:
        """Columns target, rank, source, affinity."""
        ranked = [self.rank(name) for name in self.names]
        rows = [[r.target, str(i), s, repr(a)] for r in ranked for i, (s, a) in enumerate(r.sources, 1)]
        return _csv([["target", "rank", "source", "affinity"], *rows])

    def to_dataframe(self) -> Any:
        """The matrix as a pandas DataFrame with names along both sides. Raises ConfigError where pandas is not installed."""
        try:
            import pandas  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ConfigError("pandas is not installed, so there are no data frames. Install it, or use `to_csv`.") from error
        return pandas.DataFrame(self.matrix, index=list(self.names), columns=list(self.names))

    def _repr_html_(self) -> str:
        """What a notebook shows: the matrix as a coloured table."""
        from onnxspace.heat import heat_table

        return heat_table(f"{self.method_words} on {self.probe['images']} images", self.names, self.matrix, self.errors)

    def to_dict(self, targets: Sequence[str] | None = None) -> dict[str, Any]:
        """The object of schema `onnxspace/score/1`, ready for `json.dumps`; rankings of `targets` (None: of all).

        It has `options` where the method was told anything.
        """
        ranked = [self.rank(name) for name in (self.names if targets is None else targets)]
        return {
            "schema": SCHEMA,
            "method": self.method,
            **({"options": dict(self.options)} if self.options else {}),
            "probe": dict(self.probe),
            "models": [asdict(model) for model in self.models],
            "affinity": self.matrix.tolist(),
            **({} if self.errors is None else {"errors": self.errors.tolist()}),
            "rankings": {r.target: [{"source": s, "affinity": a} for s, a in r.sources] for r in ranked},
            "failed": [asdict(failure) for failure in self.failed],
            "warnings": list(self.warnings),
        }


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
