"""What `onnxspace score` ranks sources by, what such a ranking rests on, and how certain it is."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.stats
from numpy.typing import NDArray
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.evaluation import Table
from onnxspace.model.model import open_model
from onnxspace.report.read_result import read_result
from onnxspace.scores.pairs.knn_agreement import Answers, FeatureNeighbours
from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs
from onnxspace.scores.pairs.probability_predictivity import prepare_probabilities
from onnxspace.workflows.child import representations
from tests.cli.test_score_by import COUNT, IMAGES, MODELS, features, scored
from tests.helpers.commands import Run

CLASSIFIERS, CLASSIFIER_OPTIONS = "abc", {"units": 6}
PICTURES = 40


@pytest.fixture
def photos(place: Path) -> Path:
    """Pictures in two folders, sorted by what they show: bright and dark, smooth and rough."""
    rng = np.random.default_rng(5)
    for k in range(PICTURES):
        folder = place / "photos" / ("bright" if k % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        side = (3, 6, 16)[k % 3]
        noise = rng.integers(0, 140, (side, side, 3)) + (100 if k % 2 else 0)
        Image.fromarray(noise.astype(np.uint8)).resize((16, 16), Image.Resampling.BILINEAR).save(folder / f"{k}.png")
    return place / "photos"


def ranked(run: Run, *arguments: str, models: tuple[str, ...] = MODELS) -> dict[str, Any]:
    code, out, err = run("score", *models, "--json", *arguments)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def values_of(found: dict[str, Any], target: str) -> dict[str, float | None]:
    return {row["source"]: row["value"] for row in found["rankings"][target]["sources"]}


def compute(path: str, tensor: str, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a session of its own computes for each image: float64 [images, dimensions]."""
    proto = onnx.load(path)
    if tensor not in [output.name for output in proto.graph.output]:
        proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = open_model(path).preprocess(images)
    return np.array([session.run([tensor], {"image": values[i : i + 1]})[0].ravel() for i in range(len(values))], np.float64)


def test_pictures_rank_by_the_mean_of_two_ranks(run: Run, photos: Path) -> None:
    """Against the functions on a session's own features and outputs, in the order of the images' digests."""
    found = ranked(run, "--probe", "photos")
    assert (found["evidence"], found["by"], found["ranked_by"]) == ("pictures", "attribution", "mean_rank")
    assert found["probe"]["images"] == found["probe"]["size"] + PICTURES - 16 == PICTURES
    images = ox.Probes.from_folder(photos, 300).images
    order = sorted(range(len(images)), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    folds = np.arange(len(images)) % 4
    sides = [(compute(m, "t6", images)[order], compute(m, "t5", images)[order]) for m in MODELS]
    for i, target in enumerate("abc"):
        ranks = []
        for name in ("knn_agreement", "probability_predictivity"):
            row = found["scores"][name][i]
            for j in range(3):
                outputs, features = prepare_probabilities(sides[i][0]), sides[j][1]
                if name == "knn_agreement":
                    value = FeatureNeighbours(features, folds).sums_of_squares([Answers.of(sides[i][0])])[0].share
                else:
                    value = SourceFeatures(features, folds).explained_shares([outputs])[0]
                assert row[j] == pytest.approx(value, abs=2e-3), (name, target, j)
            others = [row[j] for j in range(3) if j != i]
            ranks.append(scipy.stats.rankdata([-value for value in others]))
        values = dict(zip([n for n in "abc" if n != target], 2 - np.mean(ranks, axis=0), strict=True))
        assert values_of(found, target) == pytest.approx(values)
        assert found["rankings"][target]["by"] == "mean_rank"


def test_neither_names_nor_folders_of_pictures_matter(run: Run, photos: Path, place: Path) -> None:
    found = ranked(run, "--probe", "photos", "--certainty")
    (place / "other").mkdir()
    for k, path in enumerate(sorted(photos.rglob("*.png"), key=lambda path: hashlib.sha256(path.name.encode()).digest())):
        (place / "other" / f"{k:03}.png").write_bytes(path.read_bytes())
    again = ranked(run, "--probe", "other", "--certainty")
    assert found["probe"]["sha256"] != again["probe"]["sha256"]
    for name in ("mean_rank", "knn_agreement", "probability_predictivity"):
        np.testing.assert_allclose(again["scores"][name], found["scores"][name], atol=1e-6)
    for target in "abc":
        for one, other in zip(*(f["certainty"][target]["sources"] for f in (found, again)), strict=True):
            assert one == pytest.approx(other, abs=1e-6)


def test_generated_images_say_who_is_alike_and_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr(representations, "write_features", refuse)
    found = scored(run)
    assert (found["evidence"], found["ranked_by"]) == ("none", "attribution")
    assert "scores" not in found
    for target in "abc":
        assert found["rankings"][target]["evidence"] == "none"
        assert "not which one to start from" in found["rankings"][target]["reliability"]


def test_too_few_pictures_or_too_many_models_leave_a_list_by_maps(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    found = ranked(run, "--probe", "photos", "--images", "5")
    assert (found["evidence"], found["ranked_by"]) == ("pictures", "attribution")
    assert any("takes 8 images or more" in said for said in found["warnings"])
    monkeypatch.setattr("onnxspace.workflows.score_plan.MOST_RANKED", 2)
    found = ranked(run, "--probe", "photos")
    assert found["ranked_by"] == "attribution"
    assert any("--by mean_rank does it" in said for said in found["warnings"])
    assert ranked(run, "--probe", "photos", "--by", "mean_rank")["rankings"]["a"]["by"] == "mean_rank"


def test_maps_are_of_some_pictures_and_rankings_of_all(
    run: Run, photos: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxspace.workflows.score_plan.MOST_EXPLAINED", 6)
    found = ranked(run, "--probe", "photos", "--output", "out")
    assert (found["probe"]["images"], found["pictures"]["images"]) == (6, PICTURES)
    stored = read_result(place / "out")
    assert stored.affinity.pictures == found["pictures"]
    assert stored.pictures is not None
    images = ox.Probes.from_folder(photos, 300).images
    first = sorted(hashlib.sha256(image.tobytes()).digest() for image in images)[:6]
    assert {hashlib.sha256(image.tobytes()).digest() for image in stored.pictures} == set(first)
    assert "pictures" not in ranked(run, "--probe", "photos", "--by", "attribution")


def as_argmax(path: str, keep: bool) -> None:
    """Give the network its class alone as an output, from its logits or (not `keep`) from another input too."""
    proto = onnx.load(path)
    logits = proto.graph.output[0].name
    del proto.graph.output[:]
    if not keep:
        proto.graph.input.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, [3, 3]))
        proto.graph.node.append(onnx.helper.make_node("MatMul", [logits, "other"], ["mixed"]))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "eye"))
        proto.graph.node.append(onnx.helper.make_node("MatMul", ["mixed", "eye"], ["last"]))
        logits = "last"
    proto.graph.node.append(onnx.helper.make_node("ArgMax", [logits], ["class"], axis=1))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, None))
    onnx.save(proto, path)


def test_a_class_alone_is_ranked_by_the_numbers_before_it(run: Run, photos: Path) -> None:
    found = ranked(run, "--probe", "photos")
    as_argmax("c.onnx", keep=True)
    again = ranked(run, "--probe", "photos")
    assert again["scores"] == found["scores"]
    assert again["rankings"] == found["rankings"]


def test_a_target_without_outputs_changes_its_own_ranking_only(run: Run, photos: Path) -> None:
    found = ranked(run, "--probe", "photos", "--encoder", "t5")
    as_argmax("c.onnx", keep=False)
    again = ranked(run, "--probe", "photos", "--encoder", "t5", "--certainty")
    for target in "ab":
        assert again["rankings"][target] == found["rankings"][target]
    assert again["scores"]["mean_rank"][2] == [None] * 3
    ranking = again["rankings"]["c"]
    assert (ranking["by"], ranking["evidence"]) == ("dds", "pictures")
    assert [row["value"] for row in ranking["sources"]] == sorted(again["scores"]["dds"][2][:2], reverse=True)
    assert "no output that depends on its image alone" in ranking["notes"][0]
    assert list(again["certainty"]) == ["a", "b"]
    code, out, err = run("score", *MODELS, "--probe", "photos", "--by", "probability_predictivity")
    assert code == 0
    assert "no sources can be ranked by what predicts its outputs" in err
    assert out.count("n/a") >= 3
    assert "There is no probability_predictivity: " in out


def test_a_source_without_features_is_not_available_to_the_others(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A network that ONNX Runtime can't run has maps all the same."""
    write = representations.write_features

    def refuse(model: Any, *rest: Any, **others: Any) -> Any:
        if model.path == "b.onnx":
            raise ModelError(f"{model.path} can't be run by ONNX Runtime (no kernel). Export it again.")
        return write(model, *rest, **others)

    monkeypatch.setattr(representations, "write_features", refuse)
    found = ranked(run, "--probe", "photos")
    assert values_of(found, "a") == {"c": 1.0, "b": None}
    assert found["rankings"]["a"]["by"] == found["rankings"]["c"]["by"] == "mean_rank"
    assert found["rankings"]["b"]["by"] == "attribution"
    assert values_of(found, "b") == {n: found["affinity"][1][i] for i, n in enumerate("abc") if n != "b"}
    assert any("it is no source for the others" in said for said in found["warnings"])
    code, _, err = run("score", *MODELS, *IMAGES, "--by", "cka")
    assert (code, err.count("can't be run by ONNX Runtime")) == (2, 1)


def test_a_fingerprint_among_the_models_is_listed_by_maps_and_ranks_nobody_else_otherwise(run: Run, photos: Path) -> None:
    assert run("fingerprint", "c.onnx", "-o", "c.fp", "--probe", "photos", "--images", "30", "--detail", "maps")[0] == 0
    found = ranked(run, "--probe", "photos", models=("a.onnx", "b.onnx", "c.fp"))
    assert (found["probe"]["images"], found["evidence"]) == (30, "pictures")
    assert {t: one["by"] for t, one in found["rankings"].items()} == {"a": "mean_rank", "b": "mean_rank", "c": "attribution"}
    assert values_of(found, "a")["c"] is None
    assert "its fingerprint holds maps only" in found["rankings"]["c"]["notes"][0]


def test_answers_that_say_nothing_are_noted(run: Run, photos: Path, place: Path) -> None:
    """A network with one answer for everything, and one whose answers no source gives better than chance."""
    proto = onnx.load("a.onnx")
    proto.graph.node.append(onnx.helper.make_node("Add", [proto.graph.output[0].name, "offset"], ["shifted"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([[50, 0, 0]]), "offset"))
    proto.graph.output[0].name = "shifted"
    onnx.save(proto, "a.onnx")
    found = ranked(run, "--probe", "photos")
    assert "one and the same answer for 100 % of the pictures" in " ".join(found["rankings"]["a"]["notes"])
    assert found["rankings"]["a"]["by"] == "mean_rank"
    assert found["scores"]["knn_agreement"][0] == [None] * 3
    row = np.array(found["scores"]["probability_predictivity"][0][1:])
    assert values_of(found, "a") == pytest.approx(dict(zip("bc", 2 - scipy.stats.rankdata(-row), strict=True)))


def test_a_target_that_no_source_knows_better_than_chance_is_noted(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Features that are noise."""
    write, rng = representations.write_features, np.random.default_rng(3)

    def draw(model: Any, encoder: Any, images: Any, file: Path, *rest: Any) -> Any:
        write(model, encoder, images, file, *rest)
        if encoder.why != "the outputs":
            with file.open("wb") as opened:
                np.save(opened, rng.standard_normal((PICTURES, 6)).astype(np.float32))

    monkeypatch.setattr(representations, "write_features", draw)
    found = ranked(run, "--probe", "photos", "--by", "predictivity")
    for target in "abc":
        chance = all(value is not None and value <= 0 for value in values_of(found, target).values())
        assert any("No source is better" in note for note in found["rankings"][target]["notes"]) == chance
    assert values_of(found, "a")["b"] < 0  # type: ignore[operator]


def test_the_certainty_of_a_share_is_that_of_its_images_drawn_again(run: Run, place: Path) -> None:
    """Against a bootstrap in loops over what each image's outputs are missed by, in the order of their digests."""
    sources = ("a.onnx", "b.onnx")
    found = scored(run, "--certainty", "--target", "c", "--by", "predictivity")["certainty"]["c"]["sources"]
    images = ox.Probes.generate(COUNT).images
    order = sorted(range(COUNT), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    outputs = features("c.onnx", onnx.load("c.onnx").graph.output[0].name)[order]
    draws = np.random.default_rng(0).integers(0, COUNT, size=(1000, COUNT))
    for source in sources:
        readout = SourceFeatures(features(source)[order], np.arange(COUNT) % 4)
        missed, there = readout.sums_of_squares([TargetOutputs.of(outputs)])[0]
        drawn = [1 - missed[draw].sum() / there[draw].sum() for draw in draws]
        row = next(one for one in found if one["source"] == source[:-5])
        assert [row["low"], row["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-3)
    code, out, _ = run("score", *MODELS, *IMAGES, "--target", "c", "--certainty", "--by", "predictivity", "--by", "cka")
    assert code == 0
    assert "with 95 % intervals; value and rank by each score" in out
    assert out.count("of resamples") == 1


def test_a_result_keeps_how_sure_it_is_whether_asked_or_not(run: Run, photos: Path, place: Path) -> None:
    code, out, _ = run("score", *MODELS, "--probe", "photos", "--output", "out", "--json")
    assert code == 0
    assert "certainty" not in json.loads(out)
    stored = read_result(place / "out").affinity
    asked = ox.score(MODELS, "photos", certainty=True)
    assert set(stored.certainty) == set(asked.certainty) == set("abc")
    assert stored.certainty["a"].sources[0].low == pytest.approx(asked.certainty["a"].sources[0].low, abs=1e-3)
    assert stored.brackets == asked.brackets
    assert run("report", "out", "-o", "page.html", "--images", "0")[0] == 0
    page = (place / "page.html").read_text("utf-8")
    assert '"rankedBy":["mean_rank","mean_rank","mean_rank"]' in page
    assert "Which model should I start from?" in page
    assert "Evidence: pictures, by mean_rank." in page


def test_a_page_of_kin_names_no_source_to_start_from(run: Run, place: Path) -> None:
    assert run("score", *MODELS, *IMAGES, "--output", "out")[0] == 0
    assert run("report", "out", "-o", "page.html", "--images", "0")[0] == 0
    page = (place / "page.html").read_text("utf-8")
    assert "Which models are most alike?" in page
    assert "Evidence: none, by affinity of maps." in page
    assert "start from?" not in page


def test_results_are_ranked_by_what_ranks_wherever_they_are_read(run: Run, photos: Path, place: Path) -> None:
    assert run("score", *MODELS, "--probe", "photos", "--output", "out")[0] == 0
    result = ox.score(MODELS, "photos")
    matrix = result.scores["mean_rank"]
    assert result.ranks_by == "mean_rank"
    rows = list(csv.DictReader((place / "out/rankings.csv").open()))
    assert list(rows[0]) == ["target", "rank", "source", "value", "by", "evidence", "bracket"]
    assert {(row["by"], row["evidence"]) for row in rows} == {("mean_rank", "pictures")}
    for name in ("score.json", "rankings.csv", "score-mean_rank.csv"):
        table = Table.read(place / "out" / name)
        for i, target in enumerate("abc"):
            for j, source in enumerate("abc"):
                if i != j:
                    value = table.values[table.targets.index(target), table.sources.index(source)]
                    assert value == pytest.approx(matrix[i, j], abs=2e-4), name
    stored = read_result(place / "out").affinity
    assert stored.rank("a") == result.rank("a")
    np.testing.assert_allclose(stored.matrix, result.matrix, atol=2e-4)


def test_results_of_the_first_schema_can_be_read(run: Run, place: Path) -> None:
    """As version 0.6 wrote them: `affinity` is the first score, and `ranked_by` another one."""
    assert run("score", *MODELS, *IMAGES, "--output", "out", "--by", "attribution", "--by", "predictivity")[0] == 0
    path = place / "out/score.json"
    content = json.loads(path.read_text("utf-8"))
    rankings = {
        target: [{"source": row["source"], "affinity": row["value"]} for row in one["sources"]]
        for target, one in content["rankings"].items()
    }
    kept = ("method", "probe", "models", "affinity", "failed", "warnings", "scores", "details", "unscored")
    old = {
        "schema": "onnxspace/score/1",
        **{key: content[key] for key in kept},
        "rankings": rankings,
        "ranked_by": "predictivity",
    }
    path.write_text(json.dumps(old), "utf-8")
    stored = read_result(place / "out").affinity
    assert (stored.by, stored.ranks_by, stored.evidence) == ("attribution", "predictivity", "none")
    row = content["scores"]["predictivity"][0]
    assert dict(stored.rank("a").sources) == {"b": row[1], "c": row[2]}
    np.testing.assert_array_equal(Table.read(path).values, np.array(content["scores"]["predictivity"], float))
    assert run("report", "out", "-o", "page.html", "--images", "0")[0] == 0
    assert run("score", *MODELS, *IMAGES, "--output", "out")[0] == 0
