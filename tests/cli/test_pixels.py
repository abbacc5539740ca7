"""The options on pixels and the table before the work, in every command that opens models."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxspace.cli.text.lines import WIDTH
from onnxspace.cli.text.pixels import describe_pixels, table, warning
from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.similarity.records import ModelRecord
from tests.helpers.commands import Run, runner, save_classifiers
from tests.helpers.nets import Net, classifier, save

SMALL = ("--images", "3", "--method", "saliency")
ROW = ["16×16", "NCHW", "RGB", "imagenet", "stated:", "--pixels"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(save_classifiers(tmp_path, "ab"))
    return runner(capsys)


def record(
    name: str, origin: str = "guessed", reason: str = "nothing states it", guessed: tuple[str, ...] = ("range",)
) -> ModelRecord:
    pixels = PixelRecord.of(Preprocess(224, 224), origin, reason, guessed)  # type: ignore[arg-type]
    return ModelRecord(name, f"{name}.onnx", "0" * 64, "t5", "image", 17, "", (), pixels)


def rows(err: str) -> list[list[str]]:
    lines = err.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("model "))
    return [line.split() for line in lines[first + 1 :] if "NCHW" in line]


def test_score(run: Run) -> None:
    code, out, err = run("score", "a.onnx", "b.onnx", *SMALL, "--pixels", "imagenet", "--pixels", "b=byte", "--json")
    assert code == 0
    assert rows(err) == [["a", *ROW], ["b", "16×16", "NCHW", "RGB?", "byte", "stated:", "--pixels"]]
    assert "warning" not in err
    first, second = (model["pixels"] for model in json.loads(out)["models"])
    assert (first["preset"], first["mean"], first["origin"], first["guessed"]) == (
        "imagenet",
        [0.485, 0.456, 0.406],
        "stated",
        [],
    )
    assert (second["scale"], second["size"], second["layout"], second["color"]) == (1.0, [16, 16], "NCHW", "RGB")


def test_the_table_comes_before_the_work_and_names_what_was_guessed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.workflows.run.Run.write", None)
    code, _, err = run("score", "a.onnx", "b.onnx", *SMALL)
    assert code == 2
    assert rows(err) == [["a,", "b", "16×16", "NCHW", "RGB?", "symmetric?", "guessed"]]
    assert "warning: the range of pixels is guessed for a, b;" in err
    assert "--pixels [MODEL=]PRESET" in err


def test_sidecars_named_after_their_models_share_a_row() -> None:
    records = [record(name, "read", f"{name}.onnxspace.toml of its conversion") for name in "ab"]
    assert "NAME.onnxspace.toml of its conversion" in "\n".join(table(records))
    assert sum("NCHW" in line for line in table(records)) == 1
    assert "a.onnxspace.toml of its conversion" in "\n".join(table(records[:1]))


def test_quiet_prints_no_table(run: Run) -> None:
    assert run("score", "a.onnx", "b.onnx", *SMALL, "--quiet", "--json")[2] == ""


def test_maps_depend_on_the_pixels(run: Run) -> None:
    found = [
        json.loads(run("score", "a.onnx", "b.onnx", "--images", "3", "--pixels", name, "--json")[1])
        for name in ("byte", "unit")
    ]
    assert found[0]["affinity"] != found[1]["affinity"]


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "a.onnx", "cat.png", "-o", "out.png"),
        ("fingerprint", "a.onnx", "-o", "a.fp", *SMALL),
        ("layers", "a.onnx", "b.onnx", "--images", "3"),
        ("transfer", "a.onnx", "--data", "data", "--by", "knn"),
        ("space", "add", "zoo.space", "a.onnx"),
        ("space", "nearest", "zoo.space", "a.onnx"),
    ],
)
def test_other_commands(run: Run, words: tuple[str, ...]) -> None:
    for place in ("cat.png", *(f"data/{kind}/{number}.png" for kind in "xy" for number in range(6))):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 80).convert("RGB").save(place)
    run("space", "create", "zoo.space", *SMALL)
    run("space", "add", "zoo.space", "b.onnx", "--quiet")
    code, _, err = run(*words, "--pixels", "imagenet")
    assert code == 0
    assert rows(err)[0][-6:] == ROW


def test_a_space_keeps_the_pixels_of_its_models(run: Run) -> None:
    run("space", "create", "zoo.space", *SMALL)
    code, out, _ = run("space", "add", "zoo.space", "a.onnx", "--pixels", "unit", "--json")
    assert code == 0
    assert json.loads(out)["added"][0]["pixels"]["preset"] == "unit"
    listed = json.loads(run("space", "list", "zoo.space", "--json")[1])
    assert (listed["models"][0]["pixels"]["origin"], listed["models"][0]["pixels"]["reason"]) == ("stated", "--pixels")
    assert run("space", "verify", "zoo.space")[0] == 0


def test_a_space_of_an_earlier_version_has_no_pixels_and_is_whole(run: Run) -> None:
    run("space", "create", "zoo.space", *SMALL)
    run("space", "add", "zoo.space", "a.onnx", "--quiet")
    with sqlite3.connect("zoo.space/catalogue.sqlite") as book:
        row = list(book.execute("SELECT name, stem, identity, content, facts FROM model").fetchone())
        facts = json.loads(row[4])
        assert facts.pop("pixels")["origin"] == "guessed"
        row[4] = json.dumps(facts, sort_keys=True)
        digest = hashlib.sha256(b"".join(text.encode() + b"\0" for text in row)).hexdigest()
        book.execute("UPDATE model SET facts = ?, sum = ?", (row[4], digest))
    assert run("space", "verify", "zoo.space")[0] == 0
    assert json.loads(run("space", "list", "zoo.space", "--json")[1])["models"][0]["pixels"] is None
    code, _, err = run("space", "add", "zoo.space", "a.onnx", "b.onnx")
    assert code == 0
    assert rows(err) == [["b", "16×16", "NCHW", "RGB?", "symmetric?", "guessed"]]


def test_a_page_has_the_pixels_of_its_models(run: Run) -> None:
    run("score", "a.onnx", "b.onnx", *SMALL, "--pixels", "imagenet", "--output", "result", "--quiet")
    run("report", "result", "-o", "page.html")
    assert "16×16, NCHW, RGB, imagenet, stated (--pixels)" in Path("page.html").read_text("utf-8")


def test_inspect(run: Run) -> None:
    code, out, _ = run("inspect", "a.onnx", "--pixels", "imagenet", "--color", "BGR")
    assert code == 0
    words = " ".join(out.split())
    assert "x = (pixel · 0.00392157 − [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]" in words
    assert "stated (--pixels)" in words
    found = json.loads(run("inspect", "a.onnx", "--json")[1])
    assert (found["pixels"]["origin"], found["pixels"]["guessed"]) == ("guessed", ["color", "range"])


def test_check(run: Run) -> None:
    words = ("check", "a.onnx", "--against", "a.onnx", "--images", "3", "--json")
    assert run(*words, "--pixels", "imagenet")[0] == 0
    code, _, err = run(*words, "--pixels", "c=unit")
    assert code == 2
    assert "--pixels c=unit: there is no model 'c'; there are" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("score", "a.onnx", "b.onnx", "--pixels", "imgnet"), "did you mean imagenet"),
        (("score", "a.onnx", "b.onnx", "--pixels", "c=unit"), "--pixels c=unit: there is no model 'c'; there are a, b."),
        (("inspect", "a.onnx", "--size", "32"), "a.onnx takes 16×16 images"),
        (("inspect", "a.onnx", "--color", "GREY"), "Correct `color`"),
    ],
)
def test_errors_are_one_sentence_with_the_way_out(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_table_for_no_model_is_an_error(run: Run) -> None:
    Path("onnxspace.toml").write_text('[models.aa]\npixels = "unit"\n', "utf-8")
    code, _, err = run("score", "a.onnx", "b.onnx", *SMALL)
    assert code == 2
    assert "onnxspace.toml [models.aa]: there is no model 'aa'; " in err
    run("space", "create", "zoo.space", *SMALL)
    assert run("space", "add", "zoo.space", "a.onnx")[0] == 0


def test_equal_rows_are_one_and_no_line_is_longer_than_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    models = [record(f"a-long-name-of-a-network-{i}") for i in range(12)]
    models.append(record("other" * 20, "read", "preprocessor_config.json beside it, for all 12 ONNX files there", ()))
    lines = list(table(models))
    assert lines[1].split() == ["12", "models", "224×224", "NCHW", "RGB", "symmetric?", "guessed"]
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[2].split()[-1] == "read"
    assert lines[3] == "    preprocessor_config.json beside it, for all 12 ONNX files there"
    long = list(table([record("a", "inferred", "the statistics " * 40, ())]))
    assert all(len(line) <= WIDTH for line in long)
    assert "".join(long[2:]).count("statistics") == 40
    assert "a-long-name-of-a-network-7 and 4 others" in next(warning(models))
    monkeypatch.delenv("COLUMNS")
    assert len(list(table([record("a", "inferred", "the statistics " * 40, ())]))) == 2


@pytest.mark.parametrize("command", ["score", "transfer", "inspect"])
def test_broken_metadata_is_a_warning(run: Run, command: str) -> None:
    proto = onnx.load("a.onnx")
    proto.metadata_props.add(key="pretrained_cfg", value="[1]")
    save(proto, Path("a.onnx"))
    for name in "xy":
        for number in range(8):
            Path(f"data/{name}").mkdir(parents=True, exist_ok=True)
            Image.effect_noise((16, 16), 20 + 20 * number).convert("RGB").save(f"data/{name}/{number}.png")
    more = {"score": ("b.onnx", *SMALL), "transfer": ("b.onnx", "--data", "data", "--by", "knn"), "inspect": ()}[command]
    code, out, err = run(command, "a.onnx", *more)
    assert code == 0
    assert "a.onnx: its metadata is not used" in " ".join((out + err).split())


def test_no_value_is_minus_zero() -> None:
    pixels = PixelRecord.of(Preprocess(8, 8, scale=0.5, mean=(-0.0,)), "read", "it says so", ())
    assert "-0" not in "".join((*describe_pixels(pixels), *pixels.cells()))


@pytest.mark.parametrize(
    ("axes", "bands", "guessed", "cells"),
    [
        ("CHW", (), ("color",), ("CHW", "RGB?")),
        ("", (0, 1, 2, 3, 4, 5), ("color",), ("NCHW", "bands 0–5?")),
        ("NHW", (4, 0, 2), (), ("NHW", "bands 4,0,2")),
        ("NCTHW", tuple(range(48)), ("color",), ("NCTHW", "bands 0–47?")),
        ("NCTHW", (0, 1, 2) * 16, (), ("NCTHW", "48 bands")),
    ],
)
def test_axes_and_bands_are_shown(axes: str, bands: tuple[int, ...], guessed: tuple[str, ...], cells: tuple[str, str]) -> None:
    assert PixelRecord.of(Preprocess(8, 8), "read", "", guessed, axes, bands).cells()[1:3] == cells


def test_axes_and_bands_of_files(run: Run) -> None:
    for name, shape, channels in (("six", ("N", 6, 16, 16), 6), ("single", (3, 16, 16), 3)):
        net = Net(shape)
        x = net.add("Unsqueeze", "image", net.weight(np.array([0]))) if name == "single" else "image"
        pooled = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(x, channels, 8))))
        save(net.model([net.dense(pooled, 8, 3)]), Path(f"{name}.onnx"))
    assert "16×16, NCHW, bands 0–5?, symmetric?" in run("inspect", "six.onnx")[1]
    assert "16×16, CHW, RGB?, symmetric?" in run("inspect", "single.onnx")[1]
    Path("six.onnxspace.toml").write_text("bands = [5, 4, 3, 2, 1, 0]\n")
    found = json.loads(run("inspect", "six.onnx", "--json")[1])["pixels"]
    assert (found["bands"], found["guessed"]) == ([5, 4, 3, 2, 1, 0], ["range"])


def test_inspect_is_as_wide_as_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("inspect", "a.onnx", "--pixels", "imagenet")[1].splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "Conv" in "".join(lines)


@pytest.mark.parametrize(
    "words",
    [
        ("--pixels", "unit", "--pixels", "byte"),
        ("--pixels", "a=unit", "--pixels", "a.onnx=byte"),
        ("--size", "16", "--size", "16"),
        ("--color", "b=RGB", "--color", "b=BGR"),
    ],
)
def test_an_option_is_given_once_per_model(run: Run, words: tuple[str, ...]) -> None:
    code, _, err = run("score", "a.onnx", "b.onnx", *SMALL, *words)
    assert code == 2
    assert f"{words[0]} is given 2 times for" in err
    assert len(err.splitlines()) == 1


def test_presets_may_be_in_capitals(run: Run) -> None:
    assert "NCHW, RGB, imagenet" in run("inspect", "a.onnx", "--pixels", "ImageNet")[1]


def test_a_fingerprint_has_no_row() -> None:
    assert list(table([ModelRecord("a", "a.fp", "0" * 64, "t5", "", 0, "")])) == []


@pytest.mark.parametrize(
    "words",
    [
        ("score", "a.onnx", "b.onnx", *SMALL),
        ("explain", "a.onnx", "cat.png", "-o", "out.png"),
        ("fingerprint", "a.onnx", "-o", "a.fp", *SMALL),
        ("layers", "a.onnx", "b.onnx", "--images", "3"),
        ("check", "a.onnx", "--against", "a.onnx", "--images", "3"),
        ("space", "add", "zoo.space", "a.onnx"),
    ],
)
def test_a_broken_side_file_is_a_warning_in_every_command(run: Run, words: tuple[str, ...]) -> None:
    Image.effect_noise((16, 16), 80).convert("RGB").save("cat.png")
    run("space", "create", "zoo.space", *SMALL)
    Path("preprocessor_config.json").write_text("[1]", "utf-8")
    code, _, err = run(*words)
    assert code == 0
    assert "warning: a.onnx: preprocessor_config.json beside it is not used" in err


@pytest.fixture
def sizes(run: Run) -> Run:
    """The networks a and b of fixed size, and two of open size, called open and wide."""
    for name, shape in (("open", ("N", 3, "H", "W")), ("wide", ("N", 3, "H", "W"))):
        save(classifier(shape, seed=len(name)), Path(f"{name}.onnx"))
    return run


def test_a_size_for_all_is_for_networks_of_open_size(sizes: Run) -> None:
    code, out, err = sizes("score", "a.onnx", "open.onnx", "b.onnx", *SMALL, "--size", "24", "--json")
    assert code == 0
    assert [model["pixels"]["size"] for model in json.loads(out)["models"]] == [[16, 16], [24, 24], [16, 16]]
    assert [line for line in err.splitlines() if "own size" in line] == [
        "a, b keep their own size, which is fixed; --size is for networks whose size is open."
    ]
    assert "its own size 16×16 instead of 24×24" in json.loads(out)["models"][0]["assumed"]


def test_a_size_for_one_comes_before_that_for_all(sizes: Run) -> None:
    for words in (("--size", "24", "--size", "wide=40x48"), ("--size", "wide=40x48", "--size", "24")):
        code, out, _ = sizes("score", "wide.onnx", "open.onnx", *SMALL, *words, "--json")
        assert code == 0
        assert [model["pixels"]["size"] for model in json.loads(out)["models"]] == [[40, 48], [24, 24]]
    code, _, err = sizes("score", "a.onnx", "open.onnx", *SMALL, "--size", "a=24")
    assert code == 2
    assert "a.onnx takes 16×16 images, not the 24×24 that are stated" in err


def test_a_size_for_all_comes_before_that_of_the_configuration(sizes: Run) -> None:
    Path("onnxspace.toml").write_text("[models.open]\nsize = 40\n[models.a]\nsize = 16\n", "utf-8")
    code, out, err = sizes("score", "a.onnx", "open.onnx", *SMALL, "--size", "24", "--json")
    assert code == 0
    assert [model["pixels"]["size"] for model in json.loads(out)["models"]] == [[16, 16], [24, 24]]
    assert "a keeps its own size, which is fixed" in err
