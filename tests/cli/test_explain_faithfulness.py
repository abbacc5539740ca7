"""`onnxspace explain --faithfulness`: the table, the picture, boxes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.text.faithfulness import format_faithfulness
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.randomisation import Randomisation
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.inputs.faithfulness import MEASURES
from onnxspace.inputs.methods import METHODS
from onnxspace.similarity.records import ModelRecord
from tests.helpers.commands import Run

COMMAND = "explain"
CLASSIFIERS = "ab"
FEW = ("cat.png", "dog.png", "--faithfulness")


@pytest.fixture
def place(place: Path) -> Path:
    for seed, name in enumerate(("cat.png", "dog.png")):
        noise = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place / name)
    (place / "boxes.csv").write_text("image,x,y,w,h\ncat.png,8,0,32,32\n", "utf-8")
    return place


def test_a_table_per_model_and_no_picture_of_maps(run: Run, place: Path) -> None:
    before = set(place.iterdir())
    code, out, err = run("a.onnx", "b.onnx", *FEW, "--method", "saliency", "--method", "elrp", "--boxes", "boxes.csv")
    assert code == 0
    assert set(place.iterdir()) == before
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines if "maps explain the sum" in line] == ["a", "b"]
    assert [line.split()[0] for line in lines if line.startswith(("saliency", "elrp", "random", "centre"))] == [
        *("saliency", "elrp", "random", "centre")
    ] * 4
    assert "deletion" in out
    assert "pointing" in out
    assert "ranks" in out
    objects = [line.split()[-1] for line in lines if line.startswith("random map")][1::2]
    assert objects == ["1.000"] * 2  # the box is the whole square, of one image alone
    assert "intervals over 2 images are too narrow; give 10 or more." in err
    assert "for deletion, infidelity and sensitivity, smaller is better" in out


def test_photos_of_a_folder_are_measured_as_those_that_are_named(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "folder").mkdir()
    for name in ("cat.png", "dog.png"):
        (place / "folder" / name).write_bytes((place / name).read_bytes())
    named = json.loads(run("a.onnx", *FEW, "--method", "saliency", "--json")[1])
    code, out, err = run("a.onnx", "--probe", "folder", "--faithfulness", "--method", "saliency", "--json")
    found = json.loads(out)
    assert (code, found["models"]) == (0, named["models"])
    assert found["probe"]["sha256"] == named["probe"]["sha256"]
    monkeypatch.setattr("onnxspace.workflows.faithfulness._MOST_PHOTOS", 1)
    err = run("a.onnx", "--probe", "folder", "--faithfulness", "--method", "saliency")[2]
    assert "1 of the 2 photos in folder are measured, evenly spaced." in err


def test_classes_and_maps_of_activations_have_a_table_each(run: Run, place: Path) -> None:
    code, out, err = run("a.onnx", *FEW, "--class", "1", "--top", "1", "--method", "saliency", "--method", "grad-cam")
    assert code == 0
    assert "note: a: maps are computed at" in err
    heads = [line for line in out.splitlines() if line.startswith("a: ")]
    assert [head.split(": ")[1] for head in heads] == ["class 1", "most probable class"]
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("saliency", "grad-cam"))] == [
        "saliency",
        "grad-cam",
    ] * 2
    alone = json.loads(run("a.onnx", *FEW, "--method", "elrp", "--method", "grad-cam", "--json", "--quiet")[1])["models"]
    assert [model["target"] for model in alone] == [None, "most probable class"]
    assert [[row["name"] for row in model["rows"] if not row["chance"]] for model in alone] == [["elrp"], ["grad-cam"]]


def test_masks_take_the_place_of_boxes(run: Run, place: Path) -> None:
    (place / "masks").mkdir()
    for name, left in (("cat.png", 0), ("dog.png", 24)):
        mask = np.zeros((32, 48), np.uint8)
        mask[:, left : left + 24] = 255
        Image.fromarray(mask).save(place / "masks" / name)
    code, out, err = run("a.onnx", *FEW, "--masks", "masks", "--json", "--quiet")
    assert (code, err) == (0, "")
    (model,) = json.loads(out)["models"]
    assert set(model["rows"][0]) >= {"pointing", "mass", "ranks"}
    random = next(row for row in model["rows"] if row["name"] == "random map")
    assert [random[name]["mean"] for name in ("pointing", "mass", "ranks")] == [0.5] * 3


def test_json_is_the_result_with_the_same_numbers_each_time(run: Run) -> None:
    texts = [run("a.onnx", *FEW, "--json", "--quiet") for _ in range(2)]
    assert texts[0] == texts[1]
    code, out, err = texts[0]
    assert (code, err) == (0, "")
    (model,) = json.loads(out)["models"]
    assert [row["name"] for row in model["rows"]] == ["elrp", "random map", "centre map"]
    assert len(model["curves"]["deletion"][0]) == 21
    assert model["cascade"]["layers"] == [1, 2]
    assert model["followed"].startswith("the probability")
    features = json.loads(run("a.onnx", *FEW, "--json", "--quiet", "--faithfulness-curves", "features")[1])
    assert features["models"][0]["followed"].startswith("the cosine")


def test_curves_and_maps_are_drawn_where_they_are_named(run: Run, place: Path) -> None:
    code, _, err = run("a.onnx", *FEW, "--faithfulness-picture", "curves.png", "-o", "maps.png", "--quiet")
    assert (code, err) == (0, "")
    for name, least in {"curves.png": (1000, 300), "maps.png": (300, 300)}.items():
        with Image.open(place / name) as picture:
            assert picture.format == "PNG"
            assert picture.size >= least


def test_with_a_picture_of_maps_models_are_announced_once_and_files_are_checked_before_it(run: Run, place: Path) -> None:
    code, _, err = run("a.onnx", "b.onnx", *FEW, "-o", "maps.png")
    assert code == 0
    assert sum(line.startswith("model ") for line in err.splitlines()) == 1
    (place / "maps.png").unlink()
    for more in (("--boxes", "none.csv"), ("--faithfulness-picture", "cat.png")):
        assert run("a.onnx", *FEW, "-o", "maps.png", *more)[0] == 2
        assert not (place / "maps.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.onnx", "cat.png"), "Missing option --output. Give --output FILE.png|FILE.svg|FILE.html."),
        (("a.onnx", "cat.png", "-o", "m.png", "--boxes", "boxes.csv"), "--boxes is for --faithfulness. Give both."),
        (("a.onnx", "cat.png", "-o", "m.png", "--masks", "masks"), "--masks is for --faithfulness. Give both."),
        (("a.onnx", "cat.png", "--faithfulness", "--overlay"), "--overlay is for the picture of maps, which --faithfulness does not draw. Give -o, or leave it out."),
        (("a.onnx", "cat.png", "--faithfulness", "--animate", "a.gif"), "Leave out --animate."),
        (("a.onnx", "--faithfulness", "--probe", "phots"), "The probe folder phots does not exist"),
        (("a.onnx", "cat.png", "--faithfulness", "--boxes", "boxes.csv", "--masks", "masks"), "--boxes boxes.csv and --masks masks both say where objects are. Give one of them."),
        (("a.onnx", "cat.png", "--faithfulness", "--masks", "cat.png"), "cat.png is not a folder. Give one with a picture of the name of each image as --masks."),
        (("a.onnx", "cat.png", "--faithfulness", "--class", "1", "--faithfulness-curves", "features"), "--faithfulness-curves features follow the encoder, and not class 1."),
        (("a.onnx", "cat.png", "--faithfulness", "--class", "1", "--method", "unit-saliency"), "unit-saliency does not explain class 1, but the whole network."),
        (("a.onnx", "cat.png", "--faithfulness", "--method", "attention-rollout"), "a.onnx has no attention"),
        (("a.onnx", "cat.png", "-o", "m.png", "--json"), "--json is for --faithfulness. Give both."),
        (("a.onnx", "dog.png", "--faithfulness", "--boxes", "boxes.csv"), "boxes.csv has no box inside the square that is cut from an image here."),
        (("a.onnx", "cat.png", "--faithfulness", "--boxes", "none.csv"), "none.csv: no such file; did you mean boxes.csv?"),
        (("a.onnx", "cat.png", "--faithfulness", "--boxes", "cat.png"), "cat.png is not a name for boxes."),
        (("a.onnx", "cat.png", "--faithfulness", "--faithfulness-picture", "cat.png"), "Name another --faithfulness-picture."),
        (("a.onnx", "cat.png", "--faithfulness", "--faithfulness-picture", "c.jpg"), "Name a file that ends in .png as --faithfulness-picture."),
        (("cat.png.onnx", "cat.png", "--faithfulness"), "cat.png.onnx"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_sentence(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments, "--quiet")
    assert (code, out) == (2, "")
    assert words in err


def test_all_methods_and_measures_fit_into_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    random = np.random.default_rng(0)
    rows = len(METHODS) + 2
    values = {name: random.random((rows, 12)) - 0.999 for name in MEASURES}
    same = np.ones((len(METHODS), 1, 12))
    random_weights = Randomisation((1,), same, same, same, np.ones((len(METHODS), 12, 2)))
    record = ModelRecord("a-network-with-a-rather-long-name", "a.onnx", "0" * 64, "t", "image", 17, "")
    model = ModelFaithfulness(record, tuple(METHODS), "S" * 20, "the probability of " + "p " * 30, values, {}, random_weights)
    lines = list(format_faithfulness(Faithfulness((model,), {"images": 12}, {}, {})))
    assert max(map(len, lines)) <= 80
    assert sum("keep a rank" in line for line in lines) == len(METHODS)
