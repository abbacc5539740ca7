"""One damaged file takes no other model with it: it is named, left out, and the exit code is 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxspace.errors import DamagedFileError, SpaceError
from onnxspace.similarity.records import Failure
from onnxspace.spaces.layout import maps_path, prints_path, reduced_path
from onnxspace.workflows.space import Space
from tests.helpers.commands import Run, runner
from tests.helpers.spaces import insert, insert_many, space


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Models 1 to 3 with maps, 4 and 5 in a sheet."""
    made = space(tmp_path / "zoo.space")
    for number in (1, 2, 3):
        insert(made.path, number)
    insert_many(made.path, [4, 5])
    return made.path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def fill_with_nan(path: Path) -> None:
    values = np.load(path)
    values[:] = np.nan
    np.save(path, values)


DAMAGE: dict[str, tuple[Callable[[Path, str], Path], str, Callable[[Path], None]]] = {
    "short prints": (prints_path, "model-2", cut),
    "missing prints": (prints_path, "model-2", Path.unlink),
    "short maps": (maps_path, "model-2", cut),
    "maps of NaN": (maps_path, "model-2", fill_with_nan),
    "prints of NaN": (prints_path, "model-2", fill_with_nan),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_all_others_are_compared_and_the_model_is_named(home: Path, name: str) -> None:
    make, model, damage = DAMAGE[name]
    before = Space.open(home).affinity()
    (home / "cache.sqlite").unlink()
    damage(make(home, next(entry.stem for entry in Space.open(home).entries() if entry.name == model)))
    failures: list[Failure] = []
    opened = Space.open(home, damaged=failures.append)
    found = opened.affinity()
    places = [before.names.index(name) for name in found.names]
    assert found.names == tuple(name for name in before.names if name != model)
    np.testing.assert_allclose(found.matrix, before.matrix[np.ix_(places, places)], atol=1e-6)
    assert [failure.path for failure in failures] == ["zoo/2.onnx"]
    assert failures[0].error.startswith("model-2 is left out: ")
    assert "again." in failures[0].error
    ranked = {source for source, _ in opened.rank("model-1").sources}
    assert ranked == {"model-3", "model-4", "model-5"} | (set() if "maps" in name else {model})  # its maps are enough for that
    assert opened.certainty("model-1").target == "model-1"
    if "maps" not in name:
        assert {near.name for near in opened.nearest("model-1")} == {"model-3", "model-4", "model-5"}
    with pytest.raises(SpaceError, match=r"damaged|missing"):
        Space.open(home).affinity()
    with pytest.raises(DamagedFileError):
        opened.rank(model) if "maps" in name else opened.nearest(model)


def test_commands_go_on_and_end_with_two(home: Path, call: Run, tmp_path: Path) -> None:
    entries = {entry.name: entry for entry in Space.open(home).entries()}
    cut(reduced_path(home, entries["model-4"].stem))
    part = entries["model-5"].reduced
    assert part is not None
    damaged = {"model-5"}  # the last one of the sheet
    code, _, err = call("space", "export", str(home), "-o", str(tmp_path / "prints"), "--quiet")
    assert (code, {path.stem for path in (tmp_path / "prints").iterdir()}) == (2, set(entries) - damaged)
    assert "model-5 is left out" in err
    other = space(tmp_path / "other.space")
    code, _, err = call("space", "merge", str(other.path), str(home), "--quiet")
    assert (code, set(other.names)) == (2, set(entries) - damaged)
    assert "model-5 is left out" in err
    assert other.verify().clean
    cut(maps_path(home, entries["model-2"].stem))
    for command in (("rank",), ("rank", "model-1"), ("affinity",), ("tree",), ("duplicates", "--least", "-1")):
        code, out, err = call("space", command[0], str(home), *command[1:])
        assert (code, err.count("model-2 is left out")) == (2, 1), command
        assert "model-3" in out
        assert "model-2" not in out
    code, _, err = call("report", str(home), "-o", str(tmp_path / "page.html"), "--images", "0")
    assert (code, err.count("model-2 is left out")) == (2, 1)
    assert (tmp_path / "page.html").is_file()
    code, out, _ = call("space", "verify", str(home))
    assert code == 1
    assert "truncated: " in out


def test_nearest_goes_on(home: Path, call: Run) -> None:
    cut(prints_path(home, next(e.stem for e in Space.open(home).entries() if e.name == "model-2")))
    code, out, err = call("space", "nearest", str(home), "model-1")
    assert (code, "model-2" in out, "model-3" in out) == (2, False, True)
    assert "model-2 is left out" in err


def test_whole_spaces_read_nothing_twice(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.spaces import damage

    monkeypatch.setattr(damage, "find_unreadable", None)
    assert len(Space.open(home, damaged=print).affinity().names) == 5


def test_all_others_are_indexed(home: Path) -> None:
    entry = next(entry for entry in Space.open(home).entries() if entry.name == "model-2")
    cut(prints_path(home, entry.stem))
    failures: list[Failure] = []
    assert Space.open(home, damaged=failures.append).index() == 4
    assert [failure.path for failure in failures] == ["zoo/2.onnx"]
    with pytest.raises(DamagedFileError):
        Space.open(home).index()


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_cache_that_is_no_file_costs_time_only(home: Path, kind: str) -> None:
    cache = home / "cache.sqlite"
    cache.unlink(missing_ok=True)
    if kind == "folder":
        cache.mkdir()
    else:
        cache.symlink_to(home / "elsewhere")
    assert len(Space.open(home).affinity().names) == 5
    assert not (home / "elsewhere").exists()
