"""The table that pages show has each figure of the result, and no markup."""

from __future__ import annotations

import numpy as np

from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.evaluation.faithfulness.table import format_figure, tabulate
from onnxspace.similarity.records import ModelRecord

RECORD = ModelRecord("a<b", "a.onnx", "0" * 64, "t", "image", 17, "")


def make() -> ModelFaithfulness:
    random = np.random.default_rng(0)
    values = {name: random.random((4, 12)) for name in ("deletion", "randomisation", "mass")}
    return ModelFaithfulness(RECORD, ("elrp", "saliency"), "S", "P", values, {}, target="class cat")  # type: ignore[arg-type]


def test_a_table_has_a_row_per_method_and_a_cell_per_figure() -> None:
    found = make()
    table = tabulate(found)
    assert table.title == "a<b: class cat"
    assert table.columns == ("deletion ↓", "randomised", "mass ↑")
    assert [(row.name, row.chance) for row in table.rows] == [
        ("elrp", False), ("saliency", False), ("random map", True), ("centre map", True),
    ]  # fmt: skip
    for place, row in enumerate(table.rows):
        assert row.cells == tuple(format_figure(found.figures(name)[place]) for name in found.measures)
    assert [row.name for row in tabulate(found, ["saliency"]).rows] == ["saliency", "random map", "centre map"]
    rows = found.tabulate()
    assert [row["name"] for row in rows] == [row.name for row in table.rows]
    figure = found.figures("mass")[1]
    assert figure is not None
    assert rows[1]["mass"]["mean"] == figure.mean


def test_a_notebook_shows_it_with_names_escaped() -> None:
    text = Faithfulness((make(),), {}, {}, {})._repr_html_()
    assert "a&lt;b: class cat" in text
    assert "<td>elrp</td>" in text
    assert repr(Faithfulness((make(),), {}, {}, {})) == "Faithfulness of maps of a<b: class cat"
