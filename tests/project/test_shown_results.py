"""Results show themselves in sessions and notebooks, and their data frames have the values of the JSON."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onnxspace.errors import MissingLibraryError, OnnxspaceError
from onnxspace.model.model import open_model
from onnxspace.similarity.ranking import Ranking
from tests.helpers import results
from tests.helpers.commands import Run
from tests.helpers.nets import classifier, save
from tests.helpers.pages import Page
from tests.helpers.paths import REPOSITORY
from tests.helpers.spaces import insert, space

CLASSIFIERS = ""
EVERY = vars(results.every())
FRAMES = {name: found for name, found in EVERY.items() if hasattr(found, "to_dataframe")}


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null for a missing value."""
    rows: list[dict[str, Any]] = to_objects(frame).to_dict("records")
    return rows


def to_objects(frame: pd.DataFrame) -> pd.DataFrame:
    objects = frame.astype(object)
    return objects.where(frame.notna(), None)


def pick(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


@pytest.mark.parametrize("name", EVERY)
def test_each_is_a_few_printable_lines(name: str) -> None:
    lines = repr(EVERY[name]).split("\n")
    assert 1 <= len(lines) <= 12
    assert all(line.isprintable() and len(line) < 160 for line in lines)
    assert "array(" not in repr(EVERY[name])


@pytest.mark.parametrize("name", [name for name, found in EVERY.items() if hasattr(found, "_repr_html_")])
def test_each_escapes_names_in_notebooks(name: str) -> None:
    shown = Page(EVERY[name]._repr_html_())
    assert {"script"}.isdisjoint(shown.tags)
    assert "\x1b" not in EVERY[name]._repr_html_()
    assert len(EVERY[name]._repr_html_()) > 200


def test_what_is_shown() -> None:
    shown = {name: repr(found) for name, found in EVERY.items()}
    matrix = EVERY["affinity"].scores["cka"]
    order = np.argsort(-matrix[2])
    best = next(i for i in order if i != 2 and not np.isnan(matrix[2, i]))
    assert "Affinity of 7 models, by attribution, ranked by cka: elrp on 64 images (photos)" in shown["affinity"]
    assert "Evidence: pictures" in shown["affinity"]
    assert f"{matrix[2, best]:.3f}" in shown["affinity"]
    assert "1 failed: broken.onnx\n  1 warning" in shown["affinity"]
    assert shown["ranking"].startswith("Sources for a, best first by cka\n  Evidence: pictures\n")
    assert "1 without a value: net-6" in shown["ranking"]
    assert "Ratings of 4 models on 100 images (flowers): logme, sfda" in shown["ratings"]
    assert "The order no longer changes after 40 of 64 images." in shown["certainty"]
    assert "Cut" in shown["layers"]
    assert "3 models fine-tuned on 100 images (flowers); a constant answer has 0.250" in shown["finetuned"]
    assert "Evaluation of 1 ranking against truth.csv: 4 targets, 1 relevant" in shown["evaluation"]
    assert "must be at least 0.98" in shown["verdict"]
    assert "The last layer is another one." in shown["verdict"]
    assert "12 images of 16 × 16 pixels\n  2 files are not images." in shown["probes"]


def test_many_models_take_few_lines_and_little_time() -> None:
    found = results.affinity(2000)
    began = time.perf_counter()
    assert len(repr(found).splitlines()) < 12
    assert "and 1,995 more" in repr(found)
    assert len(found._repr_html_()) < 1_000_000
    assert time.perf_counter() - began < 2


def test_a_ranking_without_brackets_or_sources_is_shown() -> None:
    assert repr(Ranking("a", ())) == "Most alike to a, by affinity of maps\n  Evidence: none"
    assert "0.250" in Ranking("a", (("b", 0.25),))._repr_html_()


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_images_of_any_bands_are_shown(bands: int) -> None:
    assert results.probes(bands)._repr_html_().count("<img") == 8
    assert (f"{bands} bands" in repr(results.probes(bands))) == (bands != 3)


def test_matrices_are_those_of_the_json() -> None:
    found = results.affinity()
    for by in ("attribution", "cka"):
        frame = found.to_dataframe(by)
        assert (frame.columns.name, frame.index.name) == (by, "target")
        assert list(frame.index) == list(frame.columns) == [model["name"] for model in found.to_dict()["models"]]
        assert to_objects(frame).to_numpy().tolist() == found.to_dict()["scores"][by]
    assert found.to_dataframe().equals(found.to_dataframe("attribution"))
    with pytest.raises(OnnxspaceError, match="No score 'dds' was computed"):
        found.to_dataframe("dds")
    truth, _ = results.tables()
    assert np.array_equal(truth.to_dataframe().to_numpy(), truth.values)


def test_rankings_are_those_of_the_json() -> None:
    found = results.affinity()
    frame, printed = found.rankings_dataframe(), found.to_dict()["rankings"]
    assert list(dict.fromkeys(frame.target)) == list(printed)
    for target, ranking in printed.items():
        rows = records_of(frame[frame.target == target])
        assert pick(rows, "source", "value", "place", "bracket") == ranking["sources"]
        assert {(row["by"], row["evidence"]) for row in rows} == {(ranking["by"], ranking["evidence"])}
        assert found.rank(target).to_dataframe().equals(frame[frame.target == target].reset_index(drop=True))
    sure = results.certainty()
    assert pick(records_of(sure.to_dataframe()), "source", "low", "high", "ahead") == sure.to_dict()["sources"]


def test_ratings_are_those_of_the_json() -> None:
    found = results.ratings()
    frame, printed = found.to_dataframe(), found.to_dict()
    ranked = records_of(frame)[: len(printed["ranking"])]
    assert [row["model"] for row in ranked] == [row["source"] for row in printed["ranking"]]
    assert pick(ranked, "value", "place", "bracket", "by") == pick(printed["ranking"], "value", "place", "bracket", "by")
    for name, values in {**printed["scores"], "known": printed["known"]}.items():
        by_model = dict(zip((model["name"] for model in printed["models"]), values, strict=True))
        assert {row["model"]: row[name] for row in records_of(frame)} == by_model
    assert records_of(frame)[-1]["place"] is None
    tuned = results.finetuned()
    rows = [{**row, "source": row["model"]} for row in records_of(tuned.to_dataframe())]
    names = [name for name in tuned.to_dict()["ranking"][0] if name != "curve"]
    assert pick(rows, *names) == pick(tuned.to_dict()["ranking"], *names)


def test_layers_measures_and_verdicts_are_those_of_the_json() -> None:
    found = results.layer_table()
    rows = [{**row, "shape": list(row["shape"])} for row in records_of(found.to_dataframe())]
    printed = json.loads(json.dumps(found.to_dict()))
    assert pick(rows, *printed["layers"][0]) == printed["layers"]
    assert {(row["source"], row["target"]) for row in rows} == {(printed["source"]["name"], printed["target"]["name"])}

    (ranking,) = results.evaluation().to_dict()["rankings"]
    frame = results.evaluation().to_dataframe()
    mine = frame[frame.ranking == "guess"]
    assert records_of(mine[mine.measure == "weighted_tau"])[0]["mean"] == ranking["weighted_tau"]["mean"]
    assert [row["low"] for row in records_of(mine[mine.measure == "precision"])] == ranking["precision"]["low"]
    assert len(frame) == len(results.evaluation().to_csv().splitlines()) - 1

    judged = results.verdict()
    rows = records_of(judged.to_dataframe())
    assert {row["metric"]: row["value"] for row in rows} == judged.to_dict()["measures"]
    names = ("metric", "value", "limit", "kept", "below", "low", "high")
    assert pick(rows[:2], *names) == pick(judged.to_dict()["findings"], *names)
    assert (rows[2]["limit"], rows[2]["kept"]) == (None, None)


def test_layers_of_comparisons_are_those_of_the_json() -> None:
    for found in (results.model_diff(), results.precision_sweep()):
        frame, printed = found.to_dataframe(), json.loads(json.dumps(found.to_dict()))
        rows = [
            {name: list(cell) if isinstance(cell, tuple) else cell for name, cell in row.items()} for row in records_of(frame)
        ]
        assert pick(rows, *printed["layers"][0]) == printed["layers"]
        assert len(rows) == 3


def test_the_types_of_columns_do_not_depend_on_the_values() -> None:
    for make in (
        results.ratings,
        results.finetuned,
        results.layer_table,
        results.certainty,
        results.model_diff,
        results.precision_sweep,
    ):
        assert make(1).to_dataframe().dtypes.equals(make(3).to_dataframe().dtypes)  # type: ignore[operator]


def test_models_of_a_space_are_those_of_the_json(place: Path, run: Run) -> None:
    made = space(place / "zoo.space")
    assert len(made.to_dataframe()) == 0
    insert(made.path, 2)
    insert(made.path, 3)
    made.tag("model-2", "detector", license="mit")
    _, out, _ = run("space", "list", "zoo.space", "--json")
    rows = [{**row, "tags": list(row["tags"])} for row in records_of(made.to_dataframe())]
    assert rows == pick(json.loads(out)["models"], *rows[0])
    assert "zoo.space': 2 models, " in repr(made)
    assert "of which some are chosen" in repr(made.where("license=mit"))
    assert "detector" in made._repr_html_()
    (made.path / "catalogue.sqlite").unlink()
    assert "models that can't be read" in repr(made)


def test_a_model_shows_no_weights(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "net.onnx")
    lines = repr(open_model(path)).splitlines()
    assert lines[0].startswith("Model 'net' (")
    assert len(lines) <= 4
    assert any("opset" in line and "node" in line for line in lines)


@pytest.mark.parametrize("name", FRAMES)
def test_without_pandas_a_sentence_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    show: Callable[[], Any] = FRAMES[name].to_dataframe
    with pytest.raises(MissingLibraryError, match=r"need pandas, which is not installed. Install it \(pip install pandas\)"):
        show()


def test_the_columns_of_every_table_are_documented() -> None:
    """docs/python.md lists them in their order."""
    text = (REPOSITORY / "docs/python.md").read_text("utf-8")
    described = {
        name: re.findall(r"`(\w+)`", cells.split("|")[-2])
        for name, cells in re.findall(r"^\| `(\w+)\.to_dataframe[^|]*\|(.*\|)$", text, re.M)
    }
    assert set(described) >= {type(found).__name__ for found in FRAMES.values()} - {"Ranking"}
    for found in FRAMES.values():
        name, columns = type(found).__name__, list(found.to_dataframe())
        if name in ("Affinity", "Table"):
            assert columns == list(found.to_dataframe().index)
        elif name == "Ratings":
            assert [column for column in columns if column not in found.values] == described[name]
        elif name != "Ranking":
            assert columns == described[name]
    ranking = re.search(r"`Ranking\.to_dataframe\(\)`.*\|(.*)\|$", text, re.M)
    assert ranking is not None
    assert re.findall(r"`(\w+)`", ranking[1]) == list(EVERY["ranking"].to_dataframe())
