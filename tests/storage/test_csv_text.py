"""Names of untrusted files in CSV: no formula, no control character, numbers as they are, and read back as they were."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxspace.evaluation.table import Table
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.csv_text import format_csv, read_cell

FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1+1", " =1", '=HYPERLINK("http://x","y")', "＝1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_is_a_formula(name: str) -> None:
    (row,) = csv.reader(io.StringIO(format_csv([[name, "b"]])))
    assert row[0].startswith("'")
    assert row[1] == "b"


def test_numbers_stay_numbers() -> None:
    assert format_csv([["-0.5", "-inf", "nan", "1e-05", -2, -0.25, ""]]) == "-0.5,-inf,nan,1e-05,-2,-0.25,\n"


def test_control_characters_are_not_written() -> None:
    assert format_csv([["a\x1b[31mb\x07\nc\udcff\u202e"]]) == "a?[31mb??c\\udcff?\n"


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9))
def test_cells_are_read_as_they_were(name: str) -> None:
    (row,) = csv.reader(io.StringIO(format_csv([[name, "b"]])))
    assert read_cell(row[0]) == name


def test_a_matrix_with_odd_names_is_read_again(tmp_path: Path) -> None:
    names = ("=1+1", "-b", "@c")
    records = tuple(ModelRecord(name, name, "0", "e", "x", 17, "", ()) for name in names)
    made = Affinity(records, np.eye(3), "elrp", {"name": "p", "images": 1, "size": 8, "sha256": "0"})
    (tmp_path / "m.csv").write_text(made.to_csv(), "utf-8")
    (tmp_path / "r.csv").write_text(made.rankings_csv(), "utf-8")
    assert all(line[0] == "'" for line in made.to_csv().splitlines()[1:])
    for file in ("m.csv", "r.csv"):
        table = Table.read(tmp_path / file)
        assert (set(table.targets), set(table.sources)) == (set(names), set(names))
