"""What `onnxspace score` ranks sources by, and how certain it is of that."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.evaluation import Table
from onnxspace.report.read_result import read_result
from onnxspace.scores import predictivity
from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs
from onnxspace.workflows import representations
from tests.cli.test_score_by import COUNT, IMAGES, MODELS, features, scored
from tests.helpers.commands import Run

pytestmark = pytest.mark.usefixtures("sketched_results")
CLASSIFIERS, CLASSIFIER_OPTIONS = "abc", {"units": 6}


def test_without_a_score_the_matrix_is_of_maps_and_sources_are_ranked_by_predictivity(run: Run) -> None:
    """Against the function on a session's own features and outputs."""
    found, alone = scored(run), scored(run, "--by", "attribution")
    assert found["affinity"] == alone["affinity"]
    assert "scores" not in alone
    assert (found["ranked_by"], list(found["scores"])) == ("predictivity", ["attribution", "predictivity"])
    for i, target in enumerate(MODELS):
        outputs = features(target, onnx.load(target).graph.output[0].name)
        values = {source[:-5]: predictivity(outputs, features(source)) for source in MODELS if source != target}
        assert [row["source"] for row in found["rankings"][target[:-5]]] == sorted(values, key=lambda n: -values[n])
        for row in found["rankings"][target[:-5]]:
            assert row["predictivity"] == pytest.approx(values[row["source"]], abs=2e-4)
            assert row["affinity"] == found["affinity"][i][[m["name"] for m in found["models"]].index(row["source"])]


def test_maps_alone_rank_where_there_is_nothing_else(run: Run, place: Path) -> None:
    fingerprint = ("fingerprint", "c.onnx", "-o", "c.fp", *IMAGES)
    assert run(*fingerprint)[0] == 0
    for arguments in (("a.onnx", "b.onnx", "c.fp", *IMAGES), (*MODELS, "--images", "5")):
        code, out, _ = run("score", *arguments, "--json")
        assert code == 0
        found = json.loads(out)
        assert "ranked_by" not in found
        assert [row["affinity"] for row in found["rankings"]["a"]] == sorted(found["affinity"][0][1:], reverse=True)


def test_the_certainty_of_a_share_is_that_of_its_images_drawn_again(run: Run, place: Path) -> None:
    """Against a bootstrap in loops over what each image's outputs are missed by."""
    sources = ("a.onnx", "b.onnx")
    found = scored(run, "--certainty", "--target", "c")["certainty"]["c"]["sources"]
    outputs = features("c.onnx", onnx.load("c.onnx").graph.output[0].name)
    draws = np.random.default_rng(0).integers(0, COUNT, size=(1000, COUNT))
    for source in sources:
        missed, there = SourceFeatures(features(source)).sums_of_squares([TargetOutputs.of(outputs)])[0]
        drawn = [1 - missed[draw].sum() / there[draw].sum() for draw in draws]
        row = next(one for one in found if one["source"] == source[:-5])
        assert [row["low"], row["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-3)
    code, out, _ = run("score", *MODELS, *IMAGES, "--target", "c", "--certainty")
    assert code == 0
    assert "with 95 % intervals; value and rank by each score" in out
    assert out.count("of resamples") == 1


def test_a_result_keeps_how_sure_it_is_whether_asked_or_not(run: Run, place: Path) -> None:
    code, out, _ = run("score", *MODELS, *IMAGES, "--output", "out", "--json")
    assert code == 0
    assert "certainty" not in json.loads(out)
    sure = read_result(place / "out").affinity.certainty
    asked = ox.score(MODELS, ox.Probes.generate(COUNT), certainty=True).certainty
    assert set(sure) == set(asked) == set("abc")
    assert sure["a"].sources[0].low == pytest.approx(asked["a"].sources[0].low, abs=1e-3)
    assert run("report", "out", "-o", "page.html", "--images", "0")[0] == 0
    page = (place / "page.html").read_text("utf-8")
    assert '"rankedBy":"predictivity"' in page
    assert "of the target.s outputs a source.s features predict".replace(".s", "&#39;s") in page


def test_features_that_nobody_asked_for_fail_no_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that ONNX Runtime can't run has maps all the same."""

    def refuse(model: Any, *_: Any, **__: Any) -> None:
        raise ModelError(f"{model.path} can't be run by ONNX Runtime (no kernel). Export it again.")

    monkeypatch.setattr(representations, "write_features", refuse)
    found = scored(run)
    assert found["affinity"][0][0] == pytest.approx(1)
    assert "ranked_by" not in found
    assert sum("no outputs can be predicted from it" in said for said in found["warnings"]) == 3
    code, _, err = run("score", *MODELS, *IMAGES, "--by", "cka")
    assert (code, err.count("can't be run by ONNX Runtime")) == (2, 3)


def test_of_very_many_models_the_ranking_is_left_to_maps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.workflows.score.MOST_RANKED", 2)
    found = scored(run)
    assert "ranked_by" not in found
    assert any("ranked by affinity, since predictivity of all pairs" in said for said in found["warnings"])
    assert scored(run, "--by", "predictivity")["rankings"]["a"][0]["affinity"] < 1


def test_a_model_without_an_answer_leaves_the_ranking_to_maps(run: Run, place: Path) -> None:
    proto = onnx.load("c.onnx")
    proto.graph.node.append(onnx.helper.make_node("ArgMax", [proto.graph.output[0].name], ["class"], axis=1))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, None))
    onnx.save(proto, "c.onnx")
    found = scored(run)
    assert "ranked_by" not in found
    assert "scores" not in found
    assert any("no output of floating-point numbers" in said for said in found["warnings"])
    assert found["warnings"][-1] == "Sources are ranked by affinity, since not all models have predictivity."
    code, _, err = run("score", *MODELS, *IMAGES, "--by", "predictivity")
    assert code == 0
    assert "its sources can't be ranked by predictivity" in err


def test_results_are_ranked_by_what_ranks_wherever_they_are_read(run: Run, place: Path) -> None:
    assert run("score", *MODELS, *IMAGES, "--output", "out")[0] == 0
    result = ox.score(MODELS, ox.Probes.generate(COUNT))
    matrix = result.scores["predictivity"]
    assert result.ranks_by == "predictivity"
    rows = list(csv.DictReader((place / "out/rankings.csv").open()))
    assert list(rows[0]) == ["target", "rank", "source", "predictivity"]
    for name in ("score.json", "rankings.csv", "score-predictivity.csv"):
        table = Table.read(place / "out" / name)
        for i, target in enumerate("abc"):
            for j, source in enumerate("abc"):
                if i != j:
                    value = table.values[table.targets.index(target), table.sources.index(source)]
                    assert value == pytest.approx(matrix[i, j], abs=2e-4), name
    stored = read_result(place / "out").affinity
    assert stored.rank("a") == result.rank("a")
    np.testing.assert_allclose(stored.matrix, result.matrix, atol=2e-4)
