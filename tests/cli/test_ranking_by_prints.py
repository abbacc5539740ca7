"""Rankings by fingerprints and by spaces of pictures are those of `score` on the same pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.spaces.layout import reduced_path
from tests.cli.test_score_by import MODELS
from tests.helpers.commands import Run
from tests.helpers.pages import Page

CLASSIFIERS, CLASSIFIER_OPTIONS = "abc", {"units": 6}
COUNT = 24


@pytest.fixture
def photos(place: Path) -> Path:
    rng = np.random.default_rng(5)
    (place / "photos").mkdir()
    for k in range(COUNT):
        noise = rng.integers(0, 140, (4, 4, 3)) + (100 if k % 2 else 0)
        Image.fromarray(noise.astype(np.uint8)).resize((16, 16), Image.Resampling.BILINEAR).save(place / f"photos/{k}.png")
    return place / "photos"


def answered(found: tuple[int, str, str]) -> dict[str, Any]:
    assert found[0] == 0, found[2]
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def by_score(found: dict[str, Any], target: str, score: str) -> dict[str, float | None]:
    names = [model["name"] for model in found["models"]]
    row = found["scores"][score][names.index(target)]
    return {Path(name).stem: value for name, value in zip(names, row, strict=True) if name != target}


_written: dict[str, bytes] = {}  # fingerprints of the models, which are the same in all tests


@pytest.fixture
def prints(run: Run, photos: Path) -> list[str]:
    files = [f"{Path(name).stem}.fp" for name in MODELS]
    for name, file in zip(MODELS, files, strict=True):
        if file not in _written:
            answer = run("fingerprint", name, "-o", file, "--probe", "photos", "--images", str(COUNT), "--quiet")
            assert answer[0] == 0, answer[2]
            _written[file] = Path(file).read_bytes()
        Path(file).write_bytes(_written[file])
    return files


def test_fingerprints_rank_as_their_models(run: Run, prints: list[str]) -> None:
    whole = answered(run("score", *MODELS, "--probe", "photos", "--images", str(COUNT), "--json"))
    little = answered(run("score", *prints, "--json"))
    mixed = answered(run("score", prints[0], *MODELS[1:], "--probe", "photos", "--json"))
    for found in (little, mixed):
        assert (found["evidence"], found["ranked_by"]) == (whole["evidence"], whole["ranked_by"]) == ("pictures", "mean_rank")
        for model in whole["models"]:
            for score in ("knn_agreement", "probability_predictivity"):
                expected = by_score(whole, model["name"], score)
                other = by_score(found, model["name"], score)
                assert {name: value is None for name, value in other.items()} == {n: v is None for n, v in expected.items()}
                for name, value in expected.items():
                    assert value is None or other[name] == pytest.approx(value, abs=0.05 if score == "knn_agreement" else 0.01)


def test_the_certainty_of_fingerprints_is_that_of_their_models(run: Run, prints: list[str]) -> None:
    whole = answered(run("score", *MODELS, "--probe", "photos", "--images", str(COUNT), "--certainty", "--json"))
    little = answered(run("score", *prints, "--certainty", "--json"))
    mixed = answered(run("score", prints[0], *MODELS[1:], "--probe", "photos", "--certainty", "--json"))
    for found in (little, mixed):
        assert set(found["certainty"]) == set(whole["certainty"]) == {model["name"] for model in whole["models"]}
        for target, own in whole["certainty"].items():
            for one, other in zip(own["sources"], found["certainty"][target]["sources"], strict=True):
                assert one["source"] == other["source"]
                assert one["ahead"] == (None if other["ahead"] is None else pytest.approx(other["ahead"], abs=0.05))
                assert one["low"] == pytest.approx(other["low"], abs=0.05)


def test_the_page_of_a_space_shows_the_certainty_of_rankings_by_use(run: Run, prints: list[str]) -> None:
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *prints, "--quiet")[0] == 0
    stated = answered(run("space", "rank", "zoo.space", "--certainty", "--json"))
    assert run("report", "zoo.space", "-o", "zoo.html", "--quiet")[0] == 0
    data = Page(Path("zoo.html").read_text("utf-8")).data
    assert {data["names"][int(place)] for place in data["sure"]} == set(stated["certainty"]) == set(data["names"])
    for place, shown in data["sure"].items():
        rows = stated["certainty"][data["names"][int(place)]]["sources"]
        found = {data["names"][int(source)]: values for source, values in shown["rows"].items()}
        assert found.keys() == {row["source"] for row in rows}
        for row in rows:
            expected = [row["low"], row["high"], row["ahead"]]
            assert found[row["source"]] == [None if value is None else pytest.approx(value, abs=1e-4) for value in expected]


def test_a_space_of_pictures_ranks_as_score(run: Run, prints: list[str]) -> None:
    little = answered(run("score", *prints, "--json"))
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *MODELS[:2], *prints[2:], "--quiet")[0] == 0
    found = answered(run("space", "rank", "zoo.space", "--json"))
    assert found["schema"] == "onnxspace/space-rank/2"
    for target, ranking in little["rankings"].items():
        own = {row["source"]: row["value"] for row in found["rankings"][target]["sources"]}
        assert own == {row["source"]: pytest.approx(row["value"]) for row in ranking["sources"]}
    one = run("space", "rank", "zoo.space", Path(MODELS[0]).stem)[1]
    assert "best first by mean_rank" in one
    assert "Evidence: pictures" in one
    assert len(ox.Space.open("zoo.space").compare().scores) > 1


def test_damaged_features_leave_out_their_model_alone(run: Run, prints: list[str]) -> None:
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    for name in prints:
        assert run("space", "add", "zoo.space", name, "--quiet")[0] == 0
    opened = ox.Space.open("zoo.space")
    before, entry = answered(run("space", "rank", "zoo.space", "--json")), opened.entries()[-1]
    path = reduced_path(opened.path, entry.stem)
    path.write_bytes(path.read_bytes()[:-100])
    code, out, err = run("space", "rank", "zoo.space", "--json")
    assert (code, err.count(f"{entry.name} is left out: {path} is damaged (it is truncated")) == (2, 1), err
    after = json.loads(out)
    assert [model["name"] for model in after["models"]] == [model["name"] for model in before["models"]][:-1]
    assert set(after["rankings"]) == set(before["rankings"]) - {entry.name}
    target = opened.names[0]
    assert run("space", "rank", "zoo.space", target)[0] == 2
    code, out, err = run("space", "rank", "zoo.space", entry.name)
    assert (code, out, "add it again" in err) == (2, "", True)
    assert run("report", "zoo.space", "-o", "page.html", "--images", "0")[0] == 2
    assert run("space", "add", "zoo.space", prints[-1])[2].endswith(f"completes {entry.name}, which lacked some of it\n")
    assert answered(run("space", "rank", "zoo.space", "--json"))["rankings"] == before["rankings"]


def test_a_print_of_another_model_ranks_the_models_of_a_space(run: Run, prints: list[str]) -> None:
    little = answered(run("score", *prints, "--json"))
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *prints[1:], "--quiet")[0] == 0
    found = answered(run("space", "rank", "zoo.space", prints[0], "--json"))
    target = Path(prints[0]).stem
    rows = [{row["source"]: row["value"] for row in one["rankings"][target]["sources"]} for one in (found, little)]
    assert rows[0] == pytest.approx(rows[1])
    assert len(ox.Space.open("zoo.space")) == len(MODELS) - 1
    sure = answered(run("space", "rank", "zoo.space", prints[0], "--certainty", "--json"))
    assert set(sure["certainty"]) == {target}
    own = answered(run("space", "rank", "zoo.space", prints[1], "--json"))  # the path of a model of the space
    assert [model["name"] for model in own["models"]] == [Path(name).stem for name in prints[1:]]


def test_without_outputs_a_model_is_a_source_and_no_target(run: Run, prints: list[str]) -> None:
    given = ("--probe", "photos", "--images", str(COUNT), "--no-outputs", "--quiet")
    assert run("fingerprint", MODELS[0], "-o", prints[0], *given)[0] == 0
    found = answered(run("score", *prints, "--json"))
    names = [model["name"] for model in found["models"]]
    matrix = np.array(found["scores"]["probability_predictivity"], float)
    assert np.isnan(np.delete(matrix[0], 0)).all()
    assert np.isfinite(matrix[1:, 0]).any()
    assert any("written without outputs" in note for note in found["rankings"][names[0]]["notes"])


def test_generated_images_keep_maps_only(run: Run) -> None:
    assert run("fingerprint", MODELS[0], "-o", "a.fp", "--images", "3", "--quiet")[0] == 0
    assert run("score", "a.fp", "a.fp", "--by", "cka")[0] == 2
    code, _, err = run("score", "a.fp", "a.fp", "--by", "dds", "--json")
    assert code == 2
    assert "No pair of models has a value of dds: a.fp holds maps only; onnxspace fingerprint --detail images" in err


def test_scores_that_prints_do_not_hold_are_refused(run: Run, prints: list[str]) -> None:
    code, _, err = run("score", *prints, "--by", "svcca")
    assert code == 2
    assert "do not hold what svcca takes" in err
    assert "mean_rank" in err


def test_a_large_space_ranks_candidates_and_says_so(run: Run, prints: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.workflows import space_ranking

    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *prints, "--quiet")[0] == 0
    monkeypatch.setattr(space_ranking, "MOST_RANKED", 2)
    monkeypatch.setattr(space_ranking, "CANDIDATES", 1)
    name = Path(MODELS[1]).stem
    found = answered(run("space", "rank", "zoo.space", name, "--json"))
    assert len(found["rankings"][name]["sources"]) == 1
    code, _, err = run("space", "rank", "zoo.space")
    assert code == 2
    assert "name the one to rank sources for" in err


def test_a_target_of_maps_in_a_large_space_gets_its_nearest(
    run: Run, prints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxspace.workflows import space_ranking

    given = ("--probe", "photos", "--images", str(COUNT), "--quiet", "--detail", "maps")
    assert run("fingerprint", MODELS[0], "-o", prints[0], *given)[0] == 0
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *prints, "--quiet")[0] == 0
    monkeypatch.setattr(space_ranking, "MOST_RANKED", 2)
    monkeypatch.setattr(space_ranking, "CANDIDATES", 1)
    name = Path(MODELS[0]).stem
    found = answered(run("space", "rank", "zoo.space", name, "--json"))
    assert len(found["rankings"][name]["sources"]) == 1


def test_all_rankings_of_a_space_come_without_a_warning_of_candidates(run: Run, prints: list[str]) -> None:
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *prints, "--quiet")[0] == 0
    code, out, err = run("space", "rank", "zoo.space")
    assert (code, "are ranked" in err) == (0, False), err
    assert "mean_rank" in out


def test_a_stated_other_order_is_refused_wherever_it_comes(run: Run, prints: list[str]) -> None:
    from dataclasses import replace

    from onnxspace.similarity.fingerprints.file import read_fingerprint, write_fingerprint

    honest = read_fingerprint(Path(prints[0]))
    assert honest.reduced is not None
    other = replace(honest.reduced, order=honest.reduced.order[::-1].copy())
    write_fingerprint(Path("other.fp"), replace(honest, name="other", reduced=other))
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    for arguments in (("add", "zoo.space", "other.fp"), ("rank", "zoo.space", "other.fp")):
        code, _, err = run("space", *arguments)
        assert (code, "another order" in err) == (2, True), err
    given = ("--probe", "photos", "--images", str(COUNT), "--quiet", "--detail", "maps")
    assert run("fingerprint", MODELS[2], "-o", "maps.fp", *given)[0] == 0
    code, _, err = run("score", "maps.fp", prints[1], "other.fp", "--json")
    assert (code, "different orders" in err) == (2, True), err


def test_more_than_maps_of_too_many_images_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxspace.inputs.probes.render", lambda _seed, index, size: np.full((size, size, 3), index % 256, np.uint8)
    )
    for command in (("space", "create", "big.space"), ("fingerprint", MODELS[0], "-o", "a.fp")):
        code, _, err = run(*command, "--images", "600", "--detail", "images")
        assert (code, "up to 512 images" in err) == (2, True), err


def test_a_model_that_is_not_in_the_space_is_searched_by_use(run: Run, prints: list[str]) -> None:
    assert run("space", "create", "zoo.space", "--probe", "photos", "--images", str(COUNT))[0] == 0
    assert run("space", "add", "zoo.space", *prints[1:], "--quiet")[0] == 0
    ranked = answered(run("space", "rank", "zoo.space", prints[0], "--json"))
    expected = {row["source"]: row["value"] for row in ranked["rankings"][Path(prints[0]).stem]["sources"]}
    for model in (prints[0], MODELS[0]):
        found = answered(run("space", "nearest", "zoo.space", model, "--by", "use", "--json", "--quiet"))
        assert {row["name"]: row["value"] for row in found["nearest"]} == pytest.approx(expected)
        assert (found["evidence"], found["ranked_by"], found["ranked"]) == ("pictures", "mean_rank", len(MODELS) - 1)
    code, out, err = run("space", "nearest", "zoo.space", MODELS[0], "--by", "use")
    assert code == 0, err
    assert "Sources for a, best first by mean_rank" in out
    assert "Evidence: pictures" in out
    assert len(ox.Space.open("zoo.space")) == len(MODELS) - 1
