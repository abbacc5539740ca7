"""`onnxspace transfer`: scores of features on labelled photos, from files to a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image
from scipy.stats import rankdata

import onnxspace as ox
from onnxspace import scores
from onnxspace.errors import ConfigError, OutputError
from onnxspace.inputs.photos import Photos
from onnxspace.model import features
from onnxspace.model.features import find_class_output
from onnxspace.workflows.rate import rate
from tests.helpers.commands import Run
from tests.helpers.nets import Net, classifier, save

COMMAND = "transfer"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two classifiers, a network without classes, and 24 photos of three colours."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    net = Net(seed=3)
    x = net.add("Relu", net.conv("image", 3, 6, pads=[1, 1, 1, 1], strides=[2, 2]))
    save(net.model([net.conv(net.add("Relu", net.conv(x, 6, 5)), 5, 7)]), tmp_path / "dense.onnx")
    rng = np.random.default_rng(0)
    for number in range(24):
        colour = number % 3
        pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
        pixels[..., colour] += 100
        path = tmp_path / "photos" / ("red", "green", "blue")[colour] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path


def seen(path: Path, images: np.ndarray[Any, Any]) -> list[Any]:
    """The network's output for each image, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = ((images / 127.5 - 1).transpose(0, 3, 1, 2)).astype(np.float32)
    return [session.run(None, {"image": one[None]})[0][0] for one in values]


def unwrap(text: str) -> str:
    return " ".join(text.split())


def test_scores_are_those_of_the_features_that_onnx_runtime_computes(place: Path) -> None:
    photos = Photos.open("photos")
    images = photos.decode(place / "images.npy", 16)
    last = ox.open_model("a.onnx").graph.outputs[0]
    found = rate(["a.onnx", "b.onnx"], photos, ["logme", "knn", "leep", "nce"], encoder=last, size=16)
    for number, name in enumerate("ab"):
        logits = np.stack(seen(place / f"{name}.onnx", images)).astype(np.float64)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = {
            "logme": scores.logme(logits, photos.labels), "knn": scores.knn(logits, photos.labels),
            "leep": scores.leep(chances, photos.labels), "nce": scores.nce(logits.argmax(axis=1), photos.labels),
        }  # fmt: skip
        for score, value in expected.items():
            assert found.values[score][number] == pytest.approx(value, rel=1e-4), score


def test_pooled_features_are_means_over_positions(place: Path) -> None:
    photos = Photos.open("photos")
    images = photos.decode(place / "images.npy", 16)
    outputs = np.stack(seen(place / "dense.onnx", images))
    last = ox.open_model("dense.onnx").graph.outputs[0]
    for pool, expected in (("mean", outputs.mean(axis=(2, 3))), ("none", outputs.reshape(len(outputs), -1))):
        found = rate(["dense.onnx"], photos, ["logme"], encoder=last, size=16, pool=pool)  # type: ignore[arg-type]
        assert found.values["logme"][0] == pytest.approx(scores.logme(expected, photos.labels), rel=1e-4)


def test_a_table_for_people(run: Run) -> None:
    code, out, err = run(
        "a.onnx", "b.onnx", "dense.onnx", "--data", "photos", "--by", "sfda", "--by", "leep", "--ensemble", "2"
    )
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "Ranked by sfda on 24 images, 3 classes (photos); evidence: labels"
    heading, *rows = lines[lines.index("") + 1 :]
    assert heading.split() == ["place", "bracket", "model", "sfda", "leep"]
    assert rows[0].split()[:2] == ["1", "-"]
    assert {line.split()[2] for line in rows[:3]} == {"a", "b", "dense"}
    assert rows[0].split()[4] == "(1)"
    assert next(line for line in lines if "dense" in line).endswith("-")
    assert lines[-1].startswith("Together (SFDA after each): ")
    assert "no leep for dense: dense has no output with a value per class" in err


def test_json_and_csv_say_the_same(run: Run, place: Path) -> None:
    code, out, err = run("a.onnx", "b.onnx", "--data", "photos", "--json", "--output", "table.csv")
    assert code == 0, err
    told = json.loads(out)
    assert told["schema"] == "onnxspace/transfer/2"
    assert list(told["scores"]) == ["sfda", "logme", "h_score", "knn", "linear_probe"]
    rows = list(csv.DictReader(io.StringIO((place / "table.csv").read_text())))
    assert [row["model"] for row in rows] == ["a", "b"]
    for score, values in told["scores"].items():
        assert [float(row[score]) for row in rows] == values
        assert told["rankings"][score][0] == "ab"[int(np.argmax(values))]
    assert [row["place"] for row in rows] == [
        str(one["place"]) for name in "ab" for one in told["ranking"] if one["source"] == name
    ]


def test_the_default_ranking_is_a_mean_rank_that_names_itself(run: Run, place: Path) -> None:
    code, out, err = run("a.onnx", "b.onnx", "dense.onnx", "--data", "photos", "--json")
    assert code == 0, err
    printed = json.loads(out)
    assert (printed["by"], printed["evidence"]) == ("mean_rank(knn, linear_probe, logme)", "labels")
    ranks = [rankdata([-v for v in printed["scores"][score]]) for score in ("knn", "linear_probe", "logme")]
    expected = dict(zip((model["name"] for model in printed["models"]), np.mean(ranks, axis=0), strict=True))
    rows = printed["ranking"]
    assert {row["source"]: row["value"] for row in rows} == pytest.approx(expected)
    assert [row["value"] for row in rows] == sorted(row["value"] for row in rows)
    assert {row["by"] for row in rows} == {printed["by"]}
    assert printed["constant"] == {"knn": pytest.approx(1 / 3), "linear_probe": pytest.approx(1 / 3)}
    for score, ends in printed["intervals"].items():
        assert all(low <= value <= high for value, (low, high) in zip(printed["scores"][score], ends, strict=True))
    assert "affinity" not in out
    _, out, _ = run("a.onnx", "b.onnx", "dense.onnx", "--data", "photos")
    assert unwrap(out).startswith("Ranked by mean rank of knn, linear_probe and logme on 24 images, 3 classes (photos)")
    lines = [line.strip() for line in out.splitlines()]
    assert [line.split()[0] for line in lines if line.startswith("chance")] == ["chance"]
    assert any(line.startswith("a constant answer  ") for line in lines)


def test_noise_is_called_no_better_than_chance(run: Run, place: Path) -> None:
    rng = np.random.default_rng(11)
    for number in range(60):
        path = place / "noise" / "abcde"[number % 5] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    code, out, _ = run("a.onnx", "b.onnx", "--data", "noise", "--json")
    assert code == 0
    warnings = json.loads(out)["warnings"]
    assert any(words.startswith("No better than chance: no source predicts held-out images better") for words in warnings)
    weak = [words for words in warnings if words.startswith("No better than a constant answer on held-out images: ")]
    assert weak[0].rpartition(": ")[2] in ("a, b.", "b, a.")
    assert {row["above_constant"] for row in json.loads(out)["ranking"]} == {False}
    _, out, _ = run("a.onnx", "b.onnx", "--data", "noise", "--quiet")
    assert "\nNo better than chance: " in out
    assert {line.split()[2] for line in out.splitlines() if line[:5].strip().isdigit()} == {"a*", "b*"}


def test_two_exports_of_one_network_share_place_and_bracket(run: Run, place: Path) -> None:
    """The second has its channels in another order, and features that differ by rounding."""
    proto = classifier(seed=0)
    weights = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    order = np.random.default_rng(0).permutation(8)
    weights["w0"], weights["w1"] = weights["w0"][order], weights["w1"][:, order] * np.float32(1.0000001)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    save(proto, place / "again.onnx")
    code, out, err = run("b.onnx", "a.onnx", "again.onnx", "--data", "photos", "--json")
    assert code == 0, err
    rows = {row["source"]: row for row in json.loads(out)["ranking"]}
    assert [rows["a"][key] for key in ("place", "value", "bracket")] == [
        rows["again"][key] for key in ("place", "value", "bracket")
    ]


def test_a_score_that_no_model_has_ranks_none(run: Run) -> None:
    code, out, err = run("dense.onnx", "--data", "photos", "--by", "leep", "--json")
    assert code == 2
    assert "onnxspace: No model has a value of leep: dense: " in err
    printed = json.loads(out)
    assert (printed["by"], printed["ranking"], printed["scores"]) == ("leep", [], {"leep": [None]})
    assert printed["warnings"][-1] == "No model could be ranked by leep; --by names another score."
    code, out, _ = run("photos", "--data", "photos", "--json")
    assert code == 2
    assert json.loads(out)["ranking"] == []


def test_one_image_of_each_class_says_why_sfda_is_missing(place: Path) -> None:
    lines = [f"photos/red/{number},{number}" for number in ("0.png", "3.png", "6.png")]
    (place / "few.csv").write_text("\n".join(["path,name", *lines]))
    found = rate(["a.onnx"], "few.csv")
    assert "Every class has one image" in found.why["sfda", "a"]
    assert np.isnan(found.values["sfda"][0])


def test_pictures_reach_a_network_at_its_own_size(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of 16 × 16 stay as they are, also where a larger network is rated beside, and with another cache for each size."""
    save(classifier(("N", 3, 40, 40), seed=1), place / "large.onnx")
    save(classifier(("N", 3, None, None), seed=2), place / "open.onnx")
    save(classifier(("N", 3, 20, 12), seed=2), place / "oblong.onnx")
    genuine, fed = features.write_features, {}

    def spy(model: Any, encoder: Any, images: Any, *rest: Any) -> Any:
        fed[model.name] = model.preprocess.pixels(np.asarray(images)), images.shape[1]
        return genuine(model, encoder, images, *rest)

    monkeypatch.setattr("onnxspace.workflows.child.reading_tasks.write_features", spy)
    photos, names = Photos.open("photos"), ["large.onnx", "a.onnx", "open.onnx", "oblong.onnx"]
    first = rate(names, photos, ["logme"], features="kept")
    files = [np.asarray(Image.open(path)) for path in photos.paths]
    np.testing.assert_array_equal(fed["a"][0], files)
    larger = [np.asarray(Image.fromarray(pixels).resize((40, 40), Image.Resampling.BILINEAR)) for pixels in files]
    np.testing.assert_array_equal(fed["large"][0], larger)
    assert {name: size for name, (_, size) in fed.items()} == {"large": 40, "a": 16, "open": 224, "oblong": 20}
    assert fed["oblong"][0].shape == (24, 20, 12, 3)
    assert len(list((place / "kept").glob("images-*.npy"))) == 4
    fed.clear()
    assert rate(names, photos, ["logme"], features="kept").values == first.values
    assert fed == {}
    again = rate(["a.onnx"], photos, ["logme"], features="kept", size=32)
    assert fed["a"][1] == 32
    assert again.data["sha256"] == first.data["sha256"]
    assert again.values["logme"][0] != first.values["logme"][1]


def test_names_of_files_and_order_of_the_table_change_no_value(place: Path) -> None:
    paths = sorted((place / "photos").rglob("*.png"))
    rows = [(path, path.parent.name) for path in np.random.default_rng(0).permutation(np.array(paths))]
    (place / "mixed").mkdir()
    lines = ["path,colour"]
    for number, (path, colour) in enumerate(rows):
        Image.open(path).save(place / "mixed" / f"{number:02}.bmp")
        lines.append(f"mixed/{number:02}.bmp,{colour}")
    (place / "mixed.csv").write_text("\n".join(lines))
    mixed, sorted_ones = rate(["a.onnx", "b.onnx"], "mixed.csv"), rate(["a.onnx", "b.onnx"], "photos")
    for score, values in sorted_ones.values.items():
        assert mixed.values[score] == pytest.approx(values, rel=1e-5), score


def test_regression_and_missing_labels(run: Run, place: Path) -> None:
    paths = sorted((place / "photos").rglob("*.png"))
    lines = [f"{path.relative_to(place)},{i / 7 if i else ''}" for i, path in enumerate(paths)]
    (place / "labels.csv").write_text("\n".join(["path,size", *lines]))
    code, out, err = run("a.onnx", "--data", "labels.csv")
    assert code == 0, err
    assert unwrap(out).startswith(
        "Ranked by mean rank of logme and linear_probe on 24 images, 1 of them without a label, 1 target each (labels)"
    )
    code, _, err = run("a.onnx", "--data", "labels.csv", "--by", "sfda")
    assert code == 2
    assert "sfda takes classes, but labels has regression. Use logme, linear_probe." in err


def test_features_that_are_there_are_used_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted run has finished is not computed twice."""
    genuine, written = features.write_features, []

    def stopping(*arguments: Any) -> Any:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(arguments[0].path)
        return genuine(*arguments)

    monkeypatch.setattr("onnxspace.workflows.child.reading_tasks.write_features", stopping)
    with pytest.raises(KeyboardInterrupt):
        rate(["a.onnx", "b.onnx"], "photos", ["logme"], features="kept")
    assert written == ["a.onnx"]
    assert not list((place / "kept").glob(".*"))
    written.clear()
    first = rate(["a.onnx", "b.onnx"], "photos", ["logme"], features="kept")
    assert written == ["b.onnx"]
    monkeypatch.setattr("onnxspace.workflows.child.reading_tasks.write_features", genuine)
    assert rate(["a.onnx", "b.onnx"], "photos", ["logme"]).values == first.values


def test_a_model_that_fails_does_not_stop_the_others(run: Run, place: Path) -> None:
    (place / "broken.onnx").write_bytes(b"no model")
    code, out, err = run("broken.onnx", "a.onnx", "--data", "photos", "--by", "knn")
    assert code == 2
    assert "broken.onnx" in err
    assert [line.split()[2] for line in out.splitlines() if line[:5].strip().isdigit()] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "cka"), "there is no score by labels 'cka'"),
        (("--by", "nonsense"), "there is no score by labels 'nonsense'"),
        (("--task", "regression"), "folders of photos have classes as labels"),
        (("--features", "a.onnx"), "a.onnx can't be created"),
        (("--output", "photos"), "photos can't be written"),
    ],
)
def test_bad_options_are_one_sentence(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("a.onnx", "--data", "photos", "--quiet", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_the_static_baseline_stands_beside_the_scores(run: Run, place: Path) -> None:
    (place / "known.csv").write_text(",a,b,other\nflowers,.9,.5,.7\ncars,.8,.6,.9\n")
    code, out, err = run("a.onnx", "b.onnx", "dense.onnx", "--data", "photos", "--by", "knn", "--known", "known.csv", "--json")
    assert code == 0, err
    assert "--known adds it" not in err
    printed = json.loads(out)
    assert printed["known"] == [1.5, 3.0, None]
    assert (printed["by"], printed["evidence"]) == ("mean_rank(knn, known)", "labels + known")
    ranks = rankdata([-value for value in printed["scores"]["knn"]])
    expected = {"a": (ranks[0] + 1.25) / 2, "b": (ranks[1] + 2.75) / 2, "dense": ranks[2]}  # ranks of two, stretched to three
    assert {row["source"]: row["value"] for row in printed["ranking"]} == pytest.approx(expected)
    _, out, _ = run("a.onnx", "b.onnx", "--data", "photos", "--by", "knn", "--known", "known.csv")
    assert "mean rank elsewhere" in next(line for line in out.splitlines() if line.startswith("place"))
    code, _, err = run("a.onnx", "--data", "photos", "--known", "nothing.csv")
    assert code == 2
    assert "nothing.csv" in err


def test_one_class_is_no_task(run: Run, place: Path) -> None:
    (place / "one" / "red").mkdir(parents=True)
    for path in (place / "photos" / "red").iterdir():
        path.rename(place / "one" / "red" / path.name)
    code, out, err = run("a.onnx", "--data", "one")
    assert (code, out) == (2, "")
    assert "All labels are 'red'; a score needs at least two classes." in err


def test_too_many_features_are_refused_before_they_fill_the_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.workflows.rate._MOST_BYTES", 1000)
    found = rate(["dense.onnx"], "photos", ["logme"], pool="none")
    assert "Use --pool mean, or name an --encoder with fewer" in found.failed[0].error


def test_an_ensemble_needs_classes(place: Path) -> None:
    (place / "labels.csv").write_text("path,size\nphotos/red/0.png,.5\nphotos/red/3.png,1.5\n")
    with pytest.raises(ConfigError, match="An ensemble is selected by SFDA, which takes classes"):
        rate(["a.onnx"], "labels.csv", ensemble=2)


def test_what_holds_a_number_per_class(place: Path) -> None:
    assert find_class_output(ox.open_model("a.onnx")) is not None
    assert find_class_output(ox.open_model("dense.onnx")) is None


def test_a_folder_that_can_not_be_made(place: Path) -> None:
    with pytest.raises(OutputError, match="can't be created"):
        rate(["a.onnx"], "photos", features=place / "a.onnx" / "x")
