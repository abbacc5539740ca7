"""The result of comparing all layers of two networks: a matrix for each score, and the best partner of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.similarity.html import find_limit, render_cell, render_notes, render_table
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.csv_text import format_csv
from onnxspace.storage.data_frames import NUMBER, TEXT, make_frame
from onnxspace.storage.short_text import MOST_LINES, align, count, count_losses, describe_images, format_value, join_lines

SCHEMA = "onnxspace/layer-pairs/1"
#: The scores of two layers: what they are called, and what their values mean.
LAYER_SCORES: Mapping[str, tuple[str, str]] = {
    "cka": ("CKA, debiased", "0: unrelated; 1: the same up to rotation and scale"),
    "predictivity": ("predictivity", "R² of the column's layer, read linearly from the row's"),
}


@dataclass(frozen=True)
class ComparedLayer:
    """A layer of a network: its `tensor`, `shape` for one image, and what lies below it, as in `Layer`."""

    tensor: str
    shape: tuple[int, ...]
    trained_below: int
    share_below: float


@dataclass(frozen=True, eq=False)
class LayerMatrix:
    """Layers of `source`, from image to output, compared with those of `target`.

    `scores` has a matrix for each score, float64 [layers of the source, layers of the target], NaN where a layer is the same for every
    image; `probe` describes the images, `skipped` counts layers of both that were left out because there were too many.
    """

    source: ModelRecord
    target: ModelRecord
    source_layers: tuple[ComparedLayer, ...]
    target_layers: tuple[ComparedLayer, ...]
    scores: Mapping[str, NDArray[np.float64]]
    probe: Mapping[str, Any]
    skipped: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()

    def find_partners(self, score: str | None = None) -> tuple[list[int | None], list[int | None]]:
        """Return the most similar layer of the target for each layer of the source, and the other way round, as places.

        `score` is one of `scores` (None: the first). The first of equals counts; None where a layer has no value. Raises KeyError for another score.

        >>> found.find_partners("cka")[0][-1]  # doctest: +SKIP
        12
        """
        matrix = self.scores[next(iter(self.scores)) if score is None else score]
        return _find_largest(matrix), _find_largest(matrix.T)

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per pair of layers: `source`, `target`, `source_layer`, `target_layer`, and the scores.

        Raises MissingLibraryError where pandas is not installed.

        >>> found.to_dataframe().pivot(index="source_layer", columns="target_layer", values="cka")  # doctest: +SKIP
        """
        columns = dict.fromkeys(("source", "target", "source_layer", "target_layer"), TEXT)
        return make_frame({**columns, **dict.fromkeys(self.scores, NUMBER)}, list(self._list_pairs()))

    def to_csv(self) -> str:
        """Return the rows of `to_dataframe` as CSV; cells without a value are empty.

        >>> found.to_csv().splitlines()[0]  # doctest: +SKIP
        'source,target,source_layer,target_layer,cka'
        """
        head = ("source", "target", "source_layer", "target_layer", *self.scores)
        return format_csv([head, *(["" if cell is None else cell for cell in row] for row in self._list_pairs())])

    def _list_pairs(self) -> Iterator[tuple[object, ...]]:
        for row, first in enumerate(self.source_layers):
            for column, second in enumerate(self.target_layers):
                values = (_to_json(matrix[row, column]) for matrix in self.scores.values())
                yield self.source.name, self.target.name, first.tensor, second.tensor, *values

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/layer-pairs/1`, ready for `json.dumps`.

        >>> found.to_dict()["partners"]["cka"]["source"][:3]  # doctest: +SKIP
        [0, 1, 2]
        """
        return {
            "schema": SCHEMA,
            "source": asdict(self.source),
            "target": asdict(self.target),
            "source_layers": [asdict(layer) for layer in self.source_layers],
            "target_layers": [asdict(layer) for layer in self.target_layers],
            "scores": {name: [[_to_json(v) for v in row] for row in matrix] for name, matrix in self.scores.items()},
            "partners": {name: dict(zip(("source", "target"), self.find_partners(name), strict=True)) for name in self.scores},
            "probe": dict(self.probe),
            "skipped": dict(zip(("source", "target"), self.skipped, strict=True)),
            "warnings": list(self.warnings),
        }

    def __repr__(self) -> str:
        name = next(iter(self.scores))
        rows = [
            [layer.tensor, self.target_layers[place].tensor, format_value(float(self.scores[name][row, place]))]
            for row, (layer, place) in enumerate(zip(self.source_layers, self.find_partners(name)[0], strict=True))
            if place is not None
        ]
        layers = (
            f"{count(len(self.source_layers), 'layer')} of {self.source.name} × {len(self.target_layers)} of {self.target.name}"
        )
        images = describe_images(self.probe)
        return join_lines(
            f"{layers}, by {', '.join(self.scores)} on {images}",
            align(rows[:MOST_LINES], len(rows)),
            count_losses([], self.warnings),
        )

    def _repr_html_(self) -> str:
        """A table for each score, for notebooks."""
        tables = (self._render(name, matrix) for name, matrix in self.scores.items())
        return "".join(tables) + render_notes(*self.warnings)

    def _render(self, name: str, matrix: NDArray[np.float64]) -> str:
        limit, columns = find_limit(matrix), [layer.tensor for layer in self.target_layers]
        rows = [
            (layer.tensor, *(render_cell(value, 0.0, limit) for value in row))
            for layer, row in zip(self.source_layers, matrix, strict=True)
        ]
        return render_table(f"{name}: {self.source.name} × {self.target.name}", ("", *columns), rows)


def _find_largest(matrix: NDArray[np.float64]) -> list[int | None]:
    return [None if np.isnan(row).all() else int(np.nanargmax(row)) for row in matrix]


def _to_json(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
