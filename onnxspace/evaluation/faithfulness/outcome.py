"""The faithfulness of the maps of some models, ready for JSON and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.evaluation.faithfulness.table import FaithfulnessTable, tabulate
from onnxspace.storage.printable import make_printable


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The faithfulness of the maps of some models, with the images and settings with which it was measured, ready for JSON."""

    models: tuple[ModelFaithfulness, ...]
    probe: Mapping[str, Any]
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Faithfulness of maps of {', '.join(make_printable(model.title) for model in self.models)}"

    def _repr_html_(self) -> str:
        """HTML for notebooks: a table for each model and explained number."""
        return "".join(_draw_table(tabulate(model)) for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as an object for `json.dumps`, with the schema `onnxspace/faithfulness/1`."""
        return {
            "schema": "onnxspace/faithfulness/1", "probe": dict(self.probe), "settings": dict(self.settings),
            "options": dict(self.options), "models": [model.to_dict() for model in self.models], "warnings": list(self.warnings),
        }  # fmt: skip

    def remarks(self) -> Iterator[str]:
        """Yield caveats, a sentence each, without those on maps that random weights do not change."""
        yield from self.warnings
        for model in self.models:
            yield from model.warnings


def _draw_table(table: FaithfulnessTable) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in ("", *table.columns))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in (row.name, *row.cells)) + "</tr>" for row in table.rows
    )
    title, below = (
        escape(make_printable(table.title)),
        "".join(f"<p>{escape(make_printable(line))}</p>" for line in table.remarks),
    )
    return f"<table><caption>{title}</caption><tr>{head}</tr>{rows}</table>{below}"
