"""Licences and tags from the files to what is printed, and commands about some of the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxspace as ox
from onnxspace.similarity.fingerprints.file import read_fingerprint
from tests.helpers.commands import Run

CLASSIFIERS = "abcd"
IMAGES = ("--images", "2")


def listed(run: Run, *arguments: str) -> dict[str, dict[str, Any]]:
    code, out, err = run("space", "list", "zoo.space", *arguments, "--json")
    assert code == 0, err
    return {model["name"]: model for model in json.loads(out)["models"]}


@pytest.fixture
def zoo(run: Run) -> Run:
    """a.onnx states its licence, b.onnx has a sidecar, c.onnx a table of the configuration."""
    model = onnx.load("a.onnx")
    model.producer_name = "pytorch"
    model.metadata_props.add(key="license", value="apache-2.0")
    onnx.save(model, "a.onnx")
    Path("b.onnxspace.toml").write_text('license = "mit"\ntags = ["detector"]\n')
    Path("onnxspace.toml").write_text('[models.c]\nlicense = "bsd-3-clause"\ntags = ["team=vision", "old"]\n')
    assert run("space", "create", "zoo.space", *IMAGES)[0] == 0
    code, _, err = run("space", "add", "zoo.space", "a.onnx", "b.onnx", "c.onnx", "--tag", "all", "--quiet")
    assert code == 0, err
    return run


def test_what_is_written_and_stated_is_kept(zoo: Run) -> None:
    found = listed(zoo)
    assert {name: (one["license"], one["license_from"], one["tags"]) for name, one in found.items()} == {
        "a": ("apache-2.0", "license in the file's metadata", ["all"]),
        "b": ("mit", "stated", ["all", "detector"]),
        "c": ("bsd-3-clause", "stated", ["all", "team=vision", "old"]),
    }
    assert found["a"]["framework"] == "pytorch"
    out = zoo("space", "list", "zoo.space")[1]
    assert "bsd-3-clause, all, team=vision, old" in out


def test_models_that_are_there_are_labelled_too(zoo: Run) -> None:
    code, _, err = zoo("space", "add", "zoo.space", "a.onnx", "--license", "cc0-1.0", "--tag", "again")
    assert (code, "a.onnx is already in the space, as a; its labels were updated" in err) == (0, True)
    assert (listed(zoo)["a"]["license"], listed(zoo)["a"]["tags"]) == ("cc0-1.0", ["again", "all"])
    command = ("space", "add", "zoo.space", "a.onnx", "b.onnx", "--tag", "again")
    assert json.loads(zoo(*command, "--json", "--quiet")[1])["labelled"] == ["b"]
    assert zoo(*command)[2].count("it has the stated labels already") == 2
    assert "labels" not in zoo("space", "add", "zoo.space", "a.onnx")[2]


def test_tag(zoo: Run) -> None:
    assert zoo("space", "tag", "zoo.space", "a", "c", "+fast", "-all", "-old")[0] == 0
    assert {name: one["tags"] for name, one in listed(zoo).items()} == {
        "a": ["fast"], "b": ["all", "detector"], "c": ["fast", "team=vision"],
    }  # fmt: skip
    assert zoo("space", "tag", "zoo.space", "--where", "license=mit", "+hot", "--license", "isc")[0] == 0
    assert (listed(zoo)["b"]["license"], listed(zoo)["b"]["tags"]) == ("isc", ["hot", "all", "detector"])
    for wrong in (("a",), ("+x",), ("a", "--where", "name=b", "+x"), ("nobody", "+x"), ("a", "+two words"), ("a", "+name=x")):
        code, out, err = zoo("space", "tag", "zoo.space", *wrong)
        assert (code, out) == (2, ""), wrong
        assert err.count("\n") <= 4
    assert "hot" not in listed(zoo)["a"]["tags"]
    assert zoo("space", "tag", "zoo.space", "a", "-hot", "+help")[0] == 0  # neither is an option


def test_where_chooses_in_every_command(zoo: Run) -> None:
    some = ("--where", "license=apache-2.0 or license=mit")
    assert set(listed(zoo, *some)) == {"a", "b"}
    commands: dict[str, tuple[str, ...]] = {
        "affinity": (), "rank": ("a",), "tree": (), "nearest": ("c", "--quiet"), "duplicates": ("--least", "-1"),
    }  # fmt: skip
    for command, more in commands.items():
        code, out, err = zoo("space", command, "zoo.space", *more, *some)
        assert code == 0, err
        assert ("c  " not in out.replace("Nearest to c", ""), "b" in out) == (True, True), out
    assert set(json.loads(zoo("space", "rank", "zoo.space", "--json", *some)[1])["rankings"]) == {"a", "b"}
    ranked = json.loads(zoo("space", "rank", "zoo.space", "c", "--json", *some)[1])["rankings"]
    assert {row["source"] for row in ranked["c"]} == {"a", "b"}
    assert zoo("space", "export", "zoo.space", "-o", "prints", *some)[0] == 0
    assert {path.stem for path in Path("prints").iterdir()} == {"a", "b"}
    assert zoo("space", "create", "two.space", *IMAGES)[0] == 0
    assert zoo("space", "merge", "two.space", "zoo.space", "--where", "tag=detector")[0] == 0
    assert ox.Space.open("two.space").names == ("b",)
    assert zoo("report", "zoo.space", "-o", "page.html", "--quiet", "--images", "0", *some)[0] == 0
    assert "bsd-3-clause" not in Path("page.html").read_text("utf-8")
    code, out, err = zoo("space", "rank", "zoo.space", "--where", "licens=mit")
    assert (code, out) == (2, "")
    assert "did you mean license?" in err


def test_fingerprints_have_provenance_unless_it_is_left_out(zoo: Run) -> None:
    place = ("--space", "zoo.space", "--quiet")
    assert zoo("fingerprint", "a.onnx", "-o", "a.fp", *place, "--tag", "x")[0] == 0
    found = read_fingerprint(Path("a.fp")).labels
    assert (found.license, found.framework, found.tags) == ("apache-2.0", "pytorch", ("x",))
    assert b"a.onnx" not in Path("a.fp").read_bytes()
    assert zoo("fingerprint", "a.onnx", "-o", "b.fp", *place, "--no-provenance")[0] == 0
    assert read_fingerprint(Path("b.fp")).labels.to_dict() == {}
    assert zoo("fingerprint", "a.onnx", "-o", "c.fp", *place, "--no-provenance", "--license", "mit")[0] == 2
    assert zoo("fingerprint", "a.onnx", "-o", "d.fp", *IMAGES, "--license", "mit", "--quiet")[0] == 0
    assert read_fingerprint(Path("d.fp")).labels.license == "mit"
