"""`onnxspace space` and `onnxspace fingerprint` on small networks, from the files to what is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.attribution.explainer import Explainer
from onnxspace.errors import ModelNotFoundError, SpaceError
from onnxspace.similarity import gram, mixed
from onnxspace.spaces import compare
from tests.helpers.commands import Run
from tests.helpers.disks import file_size_limit
from tests.helpers.nets import classifier, save

CLASSIFIERS = "abc"
IMAGES = ("--images", "2")


def told(found: tuple[int, str, str], command: str, code: int = 0) -> dict[str, Any]:
    assert found[0] == code, found[2]
    facts: dict[str, Any] = json.loads(found[1])
    assert facts.pop("schema") == f"onnxspace/space-{command}/1"
    return facts


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the space that tests begin with."""
    return tmp_path_factory.mktemp("grown")


@pytest.fixture
def zoo(run: Run, grown: Path) -> Run:
    """With a.onnx and b.onnx in zoo.space."""
    if not (grown / "zoo.space").exists():
        assert run("space", "create", "zoo.space", *IMAGES) == (0, "", "")
        assert run("space", "add", "zoo.space", "a.onnx", "b.onnx", "--quiet") == (0, "", "")
        shutil.copytree("zoo.space", grown / "zoo.space")
    shutil.copytree(grown / "zoo.space", "zoo.space", dirs_exist_ok=True)
    return run


def test_the_affinity_is_that_of_score(zoo: Run) -> None:
    found = told(zoo("space", "affinity", "zoo.space", "--json"), "affinity")
    scored = json.loads(zoo("score", "a.onnx", "b.onnx", *IMAGES, "--json")[1])
    np.testing.assert_allclose(found["affinity"], scored["affinity"], atol=1e-6)
    assert found["models"] == scored["models"]
    assert found["probe"] == scored["probe"]
    assert found["errors"] == [[0, 0], [0, 0]]


def test_what_is_known_of_other_datasets_stands_beside_rankings(zoo: Run, place: Path) -> None:
    """The target's own row is not looked at; models that are not in the table are left out."""
    (place / "known.csv").write_text(",a,b,other\nflowers,.9,.5,.7\ncars,.4,.6,.9\na,.1,.9,.2\n")
    known = {"a": {"a": 2.0, "b": 2.5}, "b": {"a": 7 / 3, "b": 2.0}}
    ranked = told(zoo("space", "rank", "zoo.space", "--known", "known.csv", "--json"), "rank")
    scored = json.loads(zoo("score", "a.onnx", "b.onnx", *IMAGES, "--known", "known.csv", "--json", "--quiet")[1])
    for found in (ranked, scored):
        assert found["known"] == {target: pytest.approx(ranks) for target, ranks in known.items()}
    code, out, _ = zoo("space", "rank", "zoo.space", "a", "--known", "known.csv")
    assert (code, out.splitlines()[-1]) == (0, "  for a: b 2.5")
    code, _, err = zoo("score", "a.onnx", "b.onnx", "--known", "missing.csv")
    assert code == 2
    assert "missing.csv" in err


SIZES = {"1M": 2**20, "512M": 2**29, "2G": 2**31, "1GiB": 2**30, "3 gib": 3 * 2**30, "1.5MB": 1_500_000, "2000000": 2_000_000}


@pytest.mark.parametrize("size", SIZES)
def test_memory_reaches_what_compares(zoo: Run, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    asked: list[int] = []

    def matrix(files: list[Path], memory: int, *rest: Any) -> Any:
        asked.append(memory)
        return gram.affinity_matrix(files, memory, *rest)

    def rows(new: list[Path], old: list[Path], memory: int, *rest: Any) -> Any:
        asked.append(memory)
        return gram.affinity_rows(new, old, memory, *rest)

    for module in (mixed, compare):
        monkeypatch.setattr(module, "affinity_matrix", matrix)
    monkeypatch.setattr(compare, "affinity_rows", rows)
    commands = [
        ("affinity",),
        ("tree",),
        ("rank",),
        ("rank", "a"),
        ("duplicates", "--least", "0.1"),
        ("duplicates", "--least", "-1"),
    ]
    for command, *more in commands:
        Path("zoo.space/cache.sqlite").unlink(missing_ok=True)
        assert zoo("space", command, "zoo.space", *more, "--memory", size)[0] == 0
    assert len(asked) >= 5
    assert zoo("score", "a.onnx", "b.onnx", *IMAGES, "--memory", size)[0] == 0
    assert set(asked) == {SIZES[size]}


@pytest.mark.parametrize("size", ["", "lots", "-1G", "1X", "1e9", "0", "1023K", "0x10", "9" * 30])
def test_nonsense_for_memory_is_one_sentence(zoo: Run, size: str) -> None:
    for command in (("score", "a.onnx", "b.onnx"), ("space", "affinity", "zoo.space")):
        code, out, err = zoo(*command, "--memory", size)
        assert (code, out) == (2, "")
        assert "too little memory" in err or "not an amount of memory" in err


def test_adding_again_does_no_work_and_says_so(zoo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explainer, "compute_maps", None)
    before = Path("zoo.space/catalogue.sqlite").read_bytes()
    code, out, err = zoo("space", "add", "zoo.space", "a.onnx", "./b.onnx")
    assert (code, out, err.splitlines()) == (
        0,
        "",
        ["a.onnx is already in the space, as a", "b.onnx is already in the space, as b"],
    )
    assert Path("zoo.space/catalogue.sqlite").read_bytes() == before
    Path("a.onnx").rename("renamed.onnx")
    found = told(zoo("space", "add", "zoo.space", "renamed.onnx", "--json", "--quiet"), "add")
    there = [{"path": "renamed.onnx", "name": "a"}]
    assert found == {"added": [], "there": there, "completed": [], "labelled": [], "failed": [], "warnings": []}


def test_another_encoder_is_another_model(zoo: Run) -> None:
    assert "added a@t1" in zoo("space", "add", "zoo.space", "a.onnx", "--encoder", "t1")[2]
    assert [m["name"] for m in told(zoo("space", "list", "zoo.space", "--json"), "list")["models"]] == ["a", "b", "a@t1"]


def test_those_that_fail_are_named_and_the_rest_is_added(zoo: Run) -> None:
    Path("bad.onnx").write_bytes(b"x")
    found = told(zoo("space", "add", "zoo.space", "bad.onnx", "c.onnx", "gone.onnx", "--json", "--quiet"), "add", code=2)
    assert [model["name"] for model in found["added"]] == ["c"]
    assert [failure["path"] for failure in found["failed"]] == ["bad.onnx", "gone.onnx"]
    assert ox.Space.open("zoo.space").verify().clean


def test_an_interruption_keeps_what_was_done(zoo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = Explainer.to_probe_pixels

    def stop(self: Explainer, *arguments: Any) -> Any:
        if ox.Space.open("zoo.space").names[-1] == "c":
            raise KeyboardInterrupt
        return passed(self, *arguments)

    save(classifier(seed=9), Path("d.onnx"))
    with monkeypatch.context() as patch:
        patch.setattr(Explainer, "to_probe_pixels", stop)
        code, out, err = zoo("space", "add", "zoo.space", "c.onnx", "d.onnx", "--quiet")
    assert (code, out) == (130, "")
    assert err.strip() == (
        "onnxspace: interrupted; 1 model is in zoo.space, and the same command, started again, adds the others."
    )
    assert ox.Space.open("zoo.space").verify().leftovers == ()
    assert zoo("space", "add", "zoo.space", "c.onnx", "d.onnx", "--quiet")[0] == 0
    assert ox.Space.open("zoo.space").names == ("a", "b", "c", "d")


def test_a_full_disk_is_named_with_the_space(zoo: Run) -> None:
    with file_size_limit(60_000):
        code, out, err = zoo("space", "add", "zoo.space", "c.onnx", "--quiet")
    assert (code, out) == (2, "")
    assert err == (
        "onnxspace: The maps of c can't be written to zoo.space (File too large). Free some disk space, and add the model again.\n"
    )
    assert ox.Space.open("zoo.space").verify().clean


def test_every_command_answers(zoo: Run) -> None:
    assert "a  " in zoo("space", "list", "zoo.space")[1]
    assert "Affinity: mean cosine of elrp maps on 2 images" in zoo("space", "affinity", "zoo.space")[1]
    assert "Most alike to b, by affinity of maps\n    1. a" in zoo("space", "rank", "zoo.space", "b")[1]
    assert list(told(zoo("space", "rank", "zoo.space", "--json"), "rank")["rankings"]) == ["a", "b"]
    assert "├─a\n└─b" in zoo("space", "tree", "zoo.space")[1]
    assert np.shape(told(zoo("space", "tree", "zoo.space", "--json"), "tree")["tree"]) == (1, 4)
    assert "1. b" in zoo("space", "nearest", "zoo.space", "a", "-n", "1")[1]
    found = told(zoo("space", "nearest", "zoo.space", "c.onnx", "--json", "--quiet"), "nearest")["nearest"]
    assert {row["name"] for row in found} == {"a", "b"}
    assert zoo("space", "duplicates", "zoo.space", "--least", "0.999")[1] == "none\n"
    assert len(told(zoo("space", "duplicates", "zoo.space", "--least", "-1", "--json"), "duplicates")["pairs"]) == 1
    found = told(zoo("space", "duplicates", "zoo.space", "--least", "-1", "--json"), "duplicates")
    assert found["groups"] == [["a", "b"]]
    assert "2 models that may be one network\n  a  b " in zoo("space", "duplicates", "zoo.space", "--least", "-1")[1]
    assert zoo("space", "index", "zoo.space")[1] == "2 models indexed\n"
    assert told(zoo("space", "index", "zoo.space", "--json"), "index") == {"models": 2}
    assert "1. b" in zoo("space", "nearest", "zoo.space", "a", "--exact")[1]
    assert zoo("space", "affinity", "zoo.space", "--output", "a.csv")[0] == 0
    assert Path("a.csv").read_text().startswith(",a,b\na,1.0,")
    assert zoo("space", "affinity", "zoo.space", "--output", "a.txt")[0] == 2
    assert zoo("space", "remove", "zoo.space", "a")[0] == 0
    assert "bytes freed" in zoo("space", "compact", "zoo.space")[1]
    assert zoo("space", "verify", "zoo.space")[1] == "1 model; all as written\n"
    assert zoo("space", "remove", "zoo.space", "a")[0] == 2


def test_verify_ends_with_one_where_something_differs(zoo: Run) -> None:
    path = next(Path("zoo.space/maps").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    code, out, _ = zoo("space", "verify", "zoo.space")
    assert code == 1
    assert out.startswith(f"truncated: {path} has ")
    assert [p["kind"] for p in told(zoo("space", "verify", "zoo.space", "--json"), "verify", code=1)["problems"]] == [
        "truncated"
    ]
    assert zoo("space", "verify", "nowhere")[0] == 2


def test_fingerprints_of_the_same_kind_are_taken_and_others_refused(zoo: Run) -> None:
    assert zoo("fingerprint", "c.onnx", "-o", "c.fp", "--space", "zoo.space", "--quiet") == (0, "", "")
    assert zoo("fingerprint", "c.onnx", "-o", "same.fp", *IMAGES, "--quiet")[0] == 0
    assert Path("c.fp").read_bytes() == Path("same.fp").read_bytes()
    assert zoo("fingerprint", "c.onnx", "-o", "other.fp", *IMAGES, "--method", "saliency", "--quiet")[0] == 0
    assert zoo("fingerprint", "c.onnx", "-o", "x.fp", "--space", "zoo.space", *IMAGES)[0] == 2
    code, _, err = zoo("space", "add", "zoo.space", "other.fp", "c.fp")
    assert code == 2
    assert "other.fp was made with other settings of the method than zoo.space" in err
    assert "±" in zoo("space", "rank", "zoo.space", "c")[1]
    assert "standard error of up to" in zoo("space", "affinity", "zoo.space")[1]
    near = told(zoo("space", "nearest", "zoo.space", "same.fp", "--json"), "nearest")["nearest"]
    assert near[0]["name"] == "c"
    assert near[0]["affinity"] > 0.9999


def test_without_maps_everything_is_estimated(run: Run) -> None:
    assert run("space", "create", "prints.space", "--no-keep-maps", *IMAGES)[0] == 0
    assert run("space", "add", "prints.space", "a.onnx", "b.onnx", "--quiet")[0] == 0
    assert list(Path("prints.space/maps").iterdir()) == []
    found = told(run("space", "affinity", "prints.space", "--json"), "affinity")
    scored = json.loads(run("score", "a.onnx", "b.onnx", *IMAGES, "--json")[1])
    error = found["errors"][0][1]
    assert abs(found["affinity"][0][1] - scored["affinity"][0][1]) < 4 * error
    assert run("space", "verify", "prints.space")[0] == 0


def test_photos_and_a_picture_as_baseline_travel_with_the_space(run: Run) -> None:
    Path("photos").mkdir()
    for name in "xy":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (40, 50, 3), np.uint8)).save(f"photos/{name}.png")
    Image.fromarray(np.full((30, 30, 3), 77, np.uint8)).save("grey.png")
    assert run("space", "create", "zoo.space", "--probe", "photos", "--baseline", "grey.png")[0] == 0
    assert run("fingerprint", "b.onnx", "-o", "b.fp", "--probe", "photos", "--baseline", "grey.png", "--quiet")[0] == 0
    for path in (*Path("photos").iterdir(), Path("grey.png")):
        path.unlink()
    assert run("space", "add", "zoo.space", "a.onnx", "b.fp", "--quiet") == (0, "", "")
    Path("other").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("other/x.png")
    code, _, err = run("space", "add", "zoo.space", "c.onnx", "--probe", "other")
    assert code == 2
    assert "These probe images are not those of zoo.space" in err
    assert run("space", "verify", "zoo.space")[0] == 0
    Path("zoo.space/baseline.png").write_bytes(b"")
    assert "baseline.png is missing or damaged" in run("space", "verify", "zoo.space")[1]


def test_in_python(place: Path) -> None:
    made = ox.Space.create("zoo.space", ox.Probes.generate(2))
    added = made.add("a.onnx")
    assert added.names == ("a",)
    assert made.add(["a.onnx", "gone.onnx"]).there == (("a.onnx", "a"),)
    with pytest.raises(ModelNotFoundError):
        made.add("gone.onnx")
    with pytest.raises(SpaceError):
        ox.Space.open("gone.space")
    assert ox.Space.open("zoo.space").names == ("a",)
    assert "elrp on 2 images" in repr(made)
