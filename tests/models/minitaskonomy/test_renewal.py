"""Lines of scores that changed take the place of former ones; all others stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.study import jobs, renewal
from models.minitaskonomy.study.evaluation import Oracle
from models.minitaskonomy.study.tables import read_rows
from models.minitaskonomy.zoo import Zoo
from tests.models.minitaskonomy.helpers import make_score, make_zoo


@pytest.fixture
def folder(study_folder: Path, tmp_path: Path) -> Path:
    for file in study_folder.glob("*.csv"):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.fixture
def zoo(folder: Path) -> Zoo:
    return make_zoo(folder, others=("depth-vit", "semantic-vit"))


def renew(folder: Path, zoo: Zoo) -> None:
    """By a `predictivity` that is the truth itself, and a default that is its reverse."""
    truth = Oracle.read(folder / "oracle.csv", zoo.targets, zoo.names).mean
    scores = [
        make_score(truth, "predictivity", "prediction", images=256),
        make_score(-truth, jobs.DEFAULT, "prediction", probe="generated, 224 px"),
    ]
    renewal.replace_lines(folder, zoo, scores)


def test_new_lines_are_judged_and_former_ones_are_gone(folder: Path, zoo: Zoo) -> None:
    renew(folder, zoo)
    lines = [row for row in read_rows(folder / "measures.csv") if row["kind"] in renewal.KINDS and row["group"] == "tasks"]
    assert [(row["score"], row["probe"], row["images"]) for row in lines] == [
        ("predictivity", "rooms", "256"), ("default", "generated, 224 px", "64"),
    ]  # fmt: skip
    assert [float(row["tau"]) for row in lines] == pytest.approx([1.0, -1.0])


def test_other_lines_stay_to_the_byte(folder: Path, study_folder: Path, zoo: Zoo) -> None:
    renew(folder, zoo)
    for name, kept in (("measures.csv", lambda row: row["kind"] not in renewal.KINDS), ("scores.csv", _is_kept)):
        before, after = ([row for row in read_rows(place / name) if kept(row)] for place in (study_folder, folder))
        assert before == after
        assert len(before) > 20
    for name in ("choosing.csv", "fingerprints.csv", "oracle.csv"):
        assert (folder / name).read_bytes() == (study_folder / name).read_bytes()


def _is_kept(row: dict[str, str]) -> bool:
    return row["score"] not in ("predictivity", "default", "linear_probe", "sfda")


def test_values_are_those_of_the_new_scores(folder: Path, zoo: Zoo) -> None:
    renew(folder, zoo)
    truth = Oracle.read(folder / "oracle.csv", zoo.targets, zoo.names).mean
    found = np.full(truth.shape, np.nan)
    rows = [row for row in read_rows(folder / "scores.csv") if row["score"] == "predictivity"]
    for row in rows:
        found[zoo.targets.index(row["target"]), zoo.names.index(row["source"])] = float(row["value"])
    np.testing.assert_allclose(found, truth, rtol=1e-4)


def test_a_second_renewal_changes_nothing(folder: Path, zoo: Zoo) -> None:
    renew(folder, zoo)
    first = {file.name: file.read_bytes() for file in folder.glob("*.csv")}
    renew(folder, zoo)
    assert {file.name: file.read_bytes() for file in folder.glob("*.csv")} == first
