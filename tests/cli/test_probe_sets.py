"""`space probes`, `--set` and `rank --pictures`, from photos to what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.errors import SpaceError
from tests.helpers.commands import Run

CLASSIFIERS = "abc"


def write_photos(folder: str, seed: int, *, smooth: bool) -> None:
    Path(folder).mkdir()
    rng = np.random.default_rng(seed)
    for number in range(12):
        pixels = rng.integers(0, 256, (4, 4, 3) if smooth else (40, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(f"{folder}/{number}.png")


@pytest.fixture
def zoo(run: Run) -> Run:
    """a and b on generated images, smooth photos and noisy ones."""
    write_photos("smooth", 0, smooth=True)
    write_photos("noisy", 0, smooth=False)
    assert run("space", "create", "zoo.space", "--images", "2")[0] == 0
    for name in ("smooth", "noisy"):
        code, out, err = run(
            "space", "probes", "zoo.space", "--add", name, "--probe", name, "--images", "12", "--detail", "maps"
        )
        assert (code, name in out) == (0, True), err
    code, _, err = run("space", "add", "zoo.space", "a.onnx", "b.onnx")
    assert (code, err.count("added a"), "set smooth\n" in err) == (0, 3, True), err
    return run


def test_models_are_explained_on_every_set(zoo: Run) -> None:
    out = zoo("space", "probes", "zoo.space")[1].splitlines()
    assert [line.split()[0] for line in out] == ["default", "noisy", "smooth"]
    assert all("; 2 models, maps" in line for line in out)
    assert "12 images of 40 pixels (noisy)" in out[1]
    sets = json.loads(zoo("space", "probes", "zoo.space", "--json")[1])["sets"]
    assert [(one["name"], one["models"], one["probe"]["images"]) for one in sets] == [
        ("default", 2, 2), ("noisy", 2, 12), ("smooth", 2, 12),
    ]  # fmt: skip
    found = json.loads(zoo("space", "add", "zoo.space", "b.onnx", "c.onnx", "--json", "--quiet")[1])
    assert [model["name"] for model in found["added"]] == ["c"]
    assert [model["name"] for model in found["sets"]["noisy"]["added"]] == ["c"]
    assert zoo("space", "remove", "zoo.space", "c")[0] == 0
    assert zoo("space", "verify", "zoo.space")[1] == "6 models; all as written\n"


def test_commands_take_a_set(zoo: Run) -> None:
    whole = ox.Space.open("zoo.space")
    for name in ("default", "smooth", "noisy"):
        found = json.loads(zoo("space", "affinity", "zoo.space", "--set", name, "--json")[1])
        np.testing.assert_array_equal(found["affinity"], whole.open_set(name).affinity().matrix)
    for command in (("rank", "a"), ("nearest", "a"), ("tree",), ("list",), ("duplicates",), ("index",)):
        code, out, err = zoo("space", command[0], "zoo.space", *command[1:], "--set", "noisy")
        assert code == 0, (command, err)
        assert out
    assert zoo("space", "export", "zoo.space", "-o", "prints", "--set", "noisy", "--quiet")[0] == 0
    assert zoo("space", "add", "zoo.space", "prints/a.fp")[2].endswith("is already in the space, as a\n")
    assert zoo("fingerprint", "c.onnx", "-o", "c.fp", "--space", "zoo.space/sets/noisy", "--quiet")[0] == 0
    assert zoo("space", "add", "zoo.space", "c.fp", "--quiet")[0] == 0
    assert (whole.names, whole.open_set("noisy").names) == (("a", "b"), ("a", "b", "c"))
    code, out, err = zoo("space", "rank", "zoo.space", "--set", "nosy")
    assert (code, out) == (2, "")
    assert "did you mean noisy?" in err
    assert zoo("space", "add", "zoo.space", "c.onnx", "--probe", "noisy")[0] == 2
    assert zoo("space", "probes", "zoo.space", "--probe", "noisy")[0] == 2


def test_the_list_of_commands_has_whole_sentences(zoo: Run) -> None:
    code, out, _ = zoo("space", "--help")
    commands = out.partition("Commands:")[2]
    assert code == 0
    assert "or of those that are named." in " ".join(commands.split())
    assert "..." not in commands


@pytest.mark.parametrize(("name", "smooth"), [("smooth", True), ("noisy", False)])
def test_pictures_choose_their_set(zoo: Run, name: str, smooth: bool) -> None:
    write_photos("task", 7, smooth=smooth)
    code, out, _ = zoo("space", "rank", "zoo.space", "a", "--pictures", "task")
    assert code == 0
    assert " ".join(out.split()).startswith(
        f"Probe set {name}, the nearest; distances of image statistics to 12 pictures of task: {name} "
    )
    found = json.loads(zoo("space", "rank", "zoo.space", "a", "--pictures", "task", "--json")[1])
    assert (found["set"]["name"], found["probe"]["name"]) == (name, name)
    assert min(found["set"]["distances"], key=found["set"]["distances"].get) == name
    stated = json.loads(zoo("space", "rank", "zoo.space", "a", "--pictures", "task", "--set", "default", "--json")[1])
    assert (stated["set"]["name"], stated["probe"]["name"]) == ("default", "generated-0")


def test_the_table_of_pixels_is_printed_once(zoo: Run) -> None:
    err = zoo("space", "add", "zoo.space", "c.onnx")[2]
    assert (err.count("from where"), err.count("the range of pixels is guessed"), err.count("added c")) == (1, 1, 3)


def test_models_are_removed_and_labelled_while_a_set_is_damaged(zoo: Run) -> None:
    whole = ox.Space.open("zoo.space")
    Path("zoo.space/sets/noisy/catalogue.sqlite").write_bytes(b"no catalogue")
    code, _, err = zoo("space", "tag", "zoo.space", "a", "+checked")
    assert (code, "changed the labels of 1 of 1 model\n" in err) == (2, True)
    assert "The set of probe images noisy can't be read" in err
    sound = (whole, whole.open_set("smooth"))
    assert [one.entries()[0].labels.tags for one in sound] == [("checked",)] * 2
    code, _, err = zoo("space", "remove", "zoo.space", "a", "b")
    assert (code, "removed a\n" in err, "removed b\n" in err) == (2, True, True)
    assert err.count("The set of probe images noisy can't be read") == 1
    assert [one.names for one in sound] == [(), ()]
    code, _, err = zoo("space", "add", "zoo.space", "c.onnx")
    assert (code, err.count("added c"), err.count("noisy can't be read")) == (2, 2, 1)
    assert [one.names for one in sound] == [("c",)] * 2
    code, out, err = zoo("space", "rank", "zoo.space", "c", "--pictures", "smooth")
    assert (code, "Probe set smooth" in out, err.count("noisy can't be read")) == (2, True, 1)
    with pytest.raises(SpaceError, match="noisy can't be read"):
        whole.remove("c")
