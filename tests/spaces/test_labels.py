"""Licences, sources and tags: kept beside the models, in every move; spaces without any stay of their format."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxspace.errors import ConfigError, ModelError, SpaceError
from onnxspace.inputs.labels import MOST_TAGS, Labels, parse_labels, parse_tags, state_labels
from onnxspace.similarity.fingerprints.file import read_fingerprint
from onnxspace.spaces import catalogue
from onnxspace.spaces.insert import add_labels, insert_sheet
from onnxspace.workflows.space import Space
from tests.helpers.spaces import IMAGES, draft, insert, insert_many, probes, space

HERE = Labels("hf:org/net", "pytorch", "", "mit", "README.md beside it", ("team=vision", "detector"))


def number_of(made: Space) -> int:
    with sqlite3.connect(made.path / "catalogue.sqlite") as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def labels_of(made: Space) -> dict[str, Labels]:
    return {entry.name: entry.labels for entry in made.entries()}


def edit(made: Space, *statements: str) -> None:
    with sqlite3.connect(made.path / "catalogue.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.fixture
def made(tmp_path: Path) -> Space:
    """Models 1 and 2 with maps, 3 and 4 without."""
    found = space(tmp_path / "zoo.space")
    for number in (1, 2):
        insert(found.path, number)
    insert_many(found.path, [3, 4])
    return found


@pytest.mark.parametrize(("detail", "number"), [("maps", 1), ("images", 2)])
def test_a_space_is_upgraded_by_its_first_label_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detail: str, number: int
) -> None:
    found = Space.create(tmp_path / "old.space", probes(), detail=detail)  # type: ignore[arg-type]
    insert_sheet(found.path, [draft(1, feed="")], [np.zeros((IMAGES, 64), "<f2")])
    assert (number_of(found), found.verify().clean) == (number, True)
    found.tag("model-1", remove="absent")
    assert number_of(found) == number
    found.tag("model-1", "detector")
    assert (number_of(found), found.verify().clean) == (3, True)
    assert labels_of(found)["model-1"].tags == ("detector",)
    monkeypatch.setattr(catalogue, "FORMAT", 2)  # as in an older program
    with pytest.raises(SpaceError, match=r"was made by a newer onnxspace \(format 3; this one reads up to 2\)\. Upgrade"):
        Space.open(found.path)


def test_tags_come_and_go(made: Space) -> None:
    made.tag(["model-1", "zoo/3.onnx"], ["team=vision", "detector"], license="Apache-2.0")
    made.tag("model-1", "new", "detector")
    found = labels_of(made)
    assert found["model-1"] == Labels(license="Apache-2.0", license_from="stated", tags=("new", "team=vision"))
    assert found["model-3"].tags == ("team=vision", "detector")
    assert found["model-2"] == Labels()
    made.tag("model-3", remove=["detector", "team=vision"])
    assert labels_of(made)["model-3"].tags == ()
    assert made.verify().clean
    with pytest.raises(SpaceError, match="there is no model 'absent'"):
        made.tag(["model-2", "absent"], "x")
    assert labels_of(made)["model-2"] == Labels()


def test_they_survive_every_move(made: Space, tmp_path: Path) -> None:
    made.tag(["model-1", "model-3", "model-4"], "kept")
    made.remove("model-4")
    made.compact()
    insert(made.path, 3)  # now with maps, and another identity
    assert {name: one.tags for name, one in labels_of(made).items()} == {
        "model-1": ("kept",), "model-2": (), "model-3": ("kept",),
    }  # fmt: skip
    insert_many(made.path, [4])
    assert labels_of(made)["model-4"] == Labels()
    assert made.verify().clean
    other = space(tmp_path / "other.space")
    insert(other.path, 1)
    other.merge(made)
    assert other.verify().clean
    assert {name for name, one in labels_of(other).items() if one.tags} == {"model-1", "model-3"}


def test_they_travel_in_fingerprints_unless_left_out(made: Space, tmp_path: Path) -> None:
    with catalogue.open_catalogue(made.path) as book, book.transaction():
        book.label(made.entries()[0], HERE)
    files = made.export(tmp_path / "prints")
    assert read_fingerprint(files[0]).labels == replace(HERE, producer="test")
    plain = made.export(tmp_path / "plain", labels=False)
    assert read_fingerprint(plain[0]).labels == Labels()
    assert b"mit" not in plain[0].read_bytes()[:4000]
    other = space(tmp_path / "other.space", keep_maps=False)
    other.add(files, tags="all")
    assert labels_of(other)["model-1"] == replace(HERE, tags=("all", *HERE.tags))
    assert other.entries()[0].producer == "test"
    other.add(files[:2], license="bsd-3-clause", tags=["again"])
    assert labels_of(other)["model-1"].license == "bsd-3-clause"
    assert labels_of(other)["model-2"].tags == ("again", "all")
    add_labels(other.path, [(other.entries()[0], HERE)])  # read, not stated
    assert labels_of(other)["model-1"].license == "bsd-3-clause"


def test_changed_labels_are_named(made: Space) -> None:
    made.tag("model-2", "detector")
    edit(made, "UPDATE label SET facts = replace(facts, 'detector', 'approved')")
    with pytest.raises(SpaceError, match="model-2: the checksum of its labels is wrong"):
        made.entries()
    assert [problem.kind for problem in made.verify().problems] == ["catalogue"]


def test_labels_of_no_model_are_named(made: Space) -> None:
    made.tag("model-2", "detector")
    edit(made, "UPDATE label SET identity = 'x'")
    assert "labels of 1 models that it has not" in made.verify().problems[0].text


@pytest.mark.parametrize("statement", ["DROP TABLE label", "ALTER TABLE label ADD COLUMN x", "PRAGMA user_version = 2"])
def test_other_tables_are_refused(made: Space, statement: str) -> None:
    made.tag("model-2", "detector")
    edit(made, statement)
    with pytest.raises(SpaceError, match="its tables are not those of its format"):
        Space.open(made.path)


@pytest.mark.parametrize("tag", ["", "two words", "-x", "=y", "a=", "license=mit", "name", "a" * 101, "x=y=z", "a\n"])
def test_what_is_no_tag_is_refused(made: Space, tag: str) -> None:
    with pytest.raises(ConfigError, match="no tag"):
        made.tag("model-1", tag)
    assert number_of(made) == 2


def test_hostile_labels_are_refused() -> None:
    for value in ([], {"tags": "x"}, {"tags": ["a b"]}, {"license": 3}, {"source": "x" * 2001}, {"license": "x" * 201}):
        with pytest.raises(ValueError, match=r"invalid|no tag"):
            parse_labels(value)
    assert parse_labels({"later": 1, "license": "mit"}) == Labels(license="mit")
    with pytest.raises(ValueError, match="up to 100"):
        parse_tags(f"t{n}" for n in range(MOST_TAGS + 1))
    with pytest.raises(ValueError, match="licence is a text"):
        state_labels(" ")


@pytest.mark.parametrize("labels", [3, {"tags": ["a b"]}, {"license": ["mit"]}, {"tags": ["x"] * 3 + list("yz") * 60 + [""]}])
def test_fingerprints_with_hostile_labels_are_refused(tmp_path: Path, labels: object) -> None:
    """A file whose checksum is right, as a stranger may write it."""
    made = space(tmp_path / "zoo.space")
    insert_many(made.path, [1])
    path = made.export(tmp_path / "prints")[0]
    content = path.read_bytes()[:-32]
    length = int.from_bytes(content[12:16], "little")
    facts = json.loads(content[16 : 16 + length]) | {"labels": labels}
    header = json.dumps(facts).encode()
    changed = content[:12] + len(header).to_bytes(4, "little") + header + content[16 + length :]
    path.write_bytes(changed + hashlib.sha256(changed).digest())
    with pytest.raises(ModelError, match="is a damaged fingerprint"):
        read_fingerprint(path)
