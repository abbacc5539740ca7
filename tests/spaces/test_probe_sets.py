"""Several sets of probe images in a space: each is a whole space, and what concerns a model concerns it in all sets."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from onnxspace.errors import SpaceError
from onnxspace.inputs.image_statistics import describe_images
from onnxspace.inputs.probes import Probes
from onnxspace.similarity.fingerprints.file import write_fingerprint
from onnxspace.spaces import probe_sets
from onnxspace.spaces.catalogue import SETS
from onnxspace.spaces.layout import STATISTICS
from onnxspace.spaces.merge import fingerprint_of
from onnxspace.workflows.probe_sets import add_to_sets
from onnxspace.workflows.space import Space
from tests.helpers.commands import runner
from tests.helpers.spaces import insert, insert_many, probes, space


@pytest.fixture
def made(tmp_path: Path) -> Space:
    """Models 1 to 3 on the first set, 1 and 2 on another."""
    found = space(tmp_path / "zoo.space")
    insert(found.path, 1)
    insert_many(found.path, [2, 3])
    other = found.add_set("other", probes(seed=1), "pictures")
    insert_many(other.path, [1])
    insert(other.path, 2)
    return found


def test_sets_are_spaces_of_the_same_method(made: Space, tmp_path: Path) -> None:
    assert made.sets == ("default", "other")
    other = made.open_set("other")
    assert (other.names, other.protocol.method) == (("model-1", "model-2"), made.protocol.method)
    assert other.protocol.probe == "noise-1"
    np.testing.assert_array_equal(other.probes().images, probes(seed=1).images)
    assert made.open_set("default") is made
    assert Space.open(made.path / SETS / "other").names == other.names
    with sqlite3.connect(made.path / "catalogue.sqlite") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


@pytest.mark.parametrize("name", ["default", "other", "", "a/b", "..", ".x", "a b", "x" * 65])
def test_names_that_can_not_be_used_are_refused(made: Space, name: str) -> None:
    with pytest.raises(SpaceError, match=r"is no name for a set|has a set called other already\. Choose"):
        made.add_set(name, probes(seed=2))
    assert made.sets == ("default", "other")


def test_a_space_with_all_its_sets_takes_no_other(made: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_sets, "MOST_SETS", 2)
    with pytest.raises(SpaceError, match="has 2 sets, the most that a space can have"):
        made.add_set("third", probes(seed=2))


def test_unknown_sets_and_images_that_are_there(made: Space) -> None:
    with pytest.raises(SpaceError, match=r"there is no set of probe images 'othr'; did you mean other\?"):
        made.open_set("othr")
    for seed, name in ((0, "default"), (1, "other")):
        with pytest.raises(SpaceError, match=f"has these images already, as the set {name}"):
            made.add_set("again", probes(seed=seed))


def test_links_and_unfinished_folders_are_no_sets(made: Space, tmp_path: Path) -> None:
    (made.path / SETS / "link").symlink_to(made.path / SETS / "other")
    (made.path / SETS / "begun").mkdir()
    assert made.sets == ("default", "other")


def test_removing_and_tagging_concern_all_sets(made: Space) -> None:
    made.tag(["model-1", "model-3"], "detector")
    assert [entry.labels.tags for entry in made.open_set("other").entries()] == [("detector",), ()]
    made.remove("model-1")
    assert (made.names, made.open_set("other").names) == (("model-2", "model-3"), ("model-2",))
    made.compact()
    assert made.verify().clean


def test_damage_in_a_set_is_named(made: Space) -> None:
    path = next((made.path / SETS / "other" / "maps").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    assert [(p.kind, p.file, p.model) for p in made.verify().problems] == [
        ("truncated", f"sets/other/maps/{path.name}", "model-2")
    ]
    assert made.verify().models == 5


def test_fingerprints_go_to_the_set_of_their_images(made: Space, tmp_path: Path) -> None:
    source = space(tmp_path / "source.space")
    insert_many(source.path, [7])
    there = source.add_set("x", probes(seed=1), "pictures")
    insert_many(there.path, [7, 8])
    strange = Space.create(tmp_path / "strange.space", probes(seed=5))
    insert_many(strange.path, [9])
    files = []
    for one in (source, there, strange):
        for entry in one.entries():
            files.append(tmp_path / f"{len(files)}.fp")
            write_fingerprint(files[-1], fingerprint_of(one.path, one.protocol, entry))
    (tmp_path / "bad.fp").write_bytes(b"x")
    found = add_to_sets(made, [*files, tmp_path / "bad.fp"])
    assert {name: one.names for name, one in found.items()} == {"default": ("model-7",), "other": ("model-7", "model-8")}
    assert [Path(failure.path).name for failure in found["default"].failed] == ["3.fp", "bad.fp"]


def test_merging_sets(made: Space, tmp_path: Path) -> None:
    target = space(tmp_path / "target.space")
    assert "has no set with the images of" in target.merge(made).warnings[0]
    target.add_set("mine", probes(seed=1), "pictures")
    assert target.merge(made).warnings == ()
    assert target.open_set("mine").names == ("model-2", "model-1")
    assert target.verify().clean


def test_the_nearest_set_is_that_of_the_pictures(tmp_path: Path) -> None:
    def grey(seed: int) -> Probes:
        rows = np.random.default_rng(seed).integers(100, 140, (6, 32, 1, 3))
        return Probes(f"grey-{seed}", np.broadcast_to(rows, (6, 32, 32, 3)).astype(np.uint8))

    found = Space.create(tmp_path / "zoo.space", Probes.generate(6, 32))
    found.add_set("grey", grey(0))
    assert found.rank_sets(grey(1))[0][0] == "grey"
    assert found.rank_sets(Probes.generate(6, 32, 9))[0][0] == "default"
    before = found.rank_sets(grey(1))
    stored = found.path / SETS / "grey" / STATISTICS
    np.testing.assert_array_equal(np.load(stored), describe_images(grey(0).images))
    for content in (b"", b"\x93NUMPY", np.lib.format.magic(1, 0)):
        stored.write_bytes(content)
        assert found.rank_sets(grey(1)) == before
    np.save(stored, np.full((6, 28), np.nan, "<f4"))
    assert found.rank_sets(grey(1)) == before
    assert found.verify().clean


def test_a_set_with_a_damaged_catalogue_is_named(made: Space, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = made.path / SETS / "other" / "catalogue.sqlite"
    catalogue.write_bytes(b"")
    found = made.verify()
    assert [(p.kind, p.file) for p in found.problems] == [("catalogue", "sets/other/catalogue.sqlite")]
    assert found.models == 3
    code, out, err = runner(capsys)("space", "probes", str(made.path))
    assert code == 2
    assert out.startswith("default  ")
    assert "The set of probe images other can't be read" in err
    with pytest.raises(SpaceError, match=r"Restore .*other from a copy, or delete it\."):
        made.tag(["model-1"], "detector")
    catalogue.unlink()
    assert [(p.kind, p.file) for p in made.verify().problems] == [("missing", "sets/other/catalogue.sqlite")]


def test_a_link_in_the_place_of_the_sets_is_not_followed(made: Space, tmp_path: Path) -> None:
    other = space(tmp_path / "other.space")
    (other.path / SETS).symlink_to(made.path / SETS)
    with pytest.raises(SpaceError, match="sets is a symbolic link, which is not followed"):
        Space.open(other.path)
