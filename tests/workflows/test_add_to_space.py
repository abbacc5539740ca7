"""`space add` that was stopped, started again: it goes on at the batch where it was, and ends with the same bytes."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import onnxspace as ox
from onnxspace.attribution import cache_key
from onnxspace.spaces.workdirs import resume_workbench
from tests.helpers.commands import exit_code as run
from tests.helpers.nets import classifier, save
from tests.helpers.stopped_runs import CHILD, content, stop_after

CLASSIFIERS = "ab"
ADD = ("space", "add", "zoo.space", "a.onnx", "b.onnx", "--batch-size", "2", "--quiet")


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty space of five images; code may change while this runs."""
    monkeypatch.setattr(cache_key, "_hash_code", lambda: "unchanged")
    assert run("space", "create", "zoo.space", "--images", "5") == 0
    return place / "zoo.space"


def kept(home: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(home).items() if name.startswith(("maps", "prints", "work"))}


def whole(home: Path) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    copy = shutil.copytree(home, home.with_name("whole.space"))
    assert run("space", "add", str(copy), *ADD[3:]) == 0
    return kept(copy)


#: Where SIGKILL strikes → the maps that are still to be computed of ten.
MOMENTS = {
    "rows without their line": ("onnxspace.storage.journal/Journal/add", 2, 8),
    "in the second model": ("onnxspace.storage.journal/Journal/add", 5, 3),
    "finished, not renamed": ("onnxspace.storage.journal/Journal/end", 1, 5),
    "before the fingerprint": ("onnxspace.workflows.add_to_space/prints_of", 2, 0),
    "maps in place, not in the catalogue": ("onnxspace.spaces.catalogue/Catalogue/insert", 1, 10),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_killed(home: Path, computed: list[int], warm_python: Path, name: str) -> None:
    expected = whole(home)
    function, time, left = MOMENTS[name]
    killed = subprocess.run([warm_python, "-c", CHILD, function, str(time), *ADD], capture_output=True, timeout=50)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert ox.Space.open(home).verify().clean
    computed.clear()
    assert run(*ADD) == 0
    assert sum(computed) == left
    assert kept(home) == expected
    assert ox.Space.open(home).names == ("a", "b")
    assert ox.Space.open(home).verify().leftovers == ()


def interrupted(appends: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, appends)
        assert run(*ADD) == 130


def test_what_waits_is_said_and_taken_up(home: Path, computed: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    expected = whole(home)
    computed.clear()
    for appends, words in (
        (1, "2 maps of a are in zoo.space, and the same command, started again, goes on there."),
        (3, "1 model and 2 maps of b are in zoo.space, and the same command, started again, goes on there."),
        (1, "4 maps of b are in zoo.space, and the same command, started again, goes on there."),
    ):
        interrupted(appends)
        assert capfd.readouterr().err.strip() == f"onnxspace: interrupted; {words}"
        assert ox.Space.open(home).verify().clean
        assert len(ox.Space.open(home).verify().leftovers) == 1
    assert run(*ADD) == 0
    assert computed == [2, 2, 1, 2, 2, 1]
    assert kept(home) == expected


def other_batch(home: Path) -> tuple[str, ...]:
    return (*ADD[:-3], "--batch-size", "3")


def other_model(home: Path) -> tuple[str, ...]:
    save(classifier(seed=7), Path("a.onnx"))
    return ADD


def compacted(home: Path) -> tuple[str, ...]:
    assert run("space", "compact", "zoo.space") == 0
    assert ox.Space.open(home).verify().leftovers == ()
    return ADD


@pytest.mark.parametrize("change", [other_batch, other_model, compacted])
def test_anything_else_starts_over(home: Path, computed: list[int], change: Callable[[Path], tuple[str, ...]]) -> None:
    interrupted(2)
    computed.clear()
    assert run(*change(home)) == 0
    assert sum(computed) == 10
    assert ox.Space.open(home).verify().clean
    assert len(ox.Space.open(home).verify().leftovers) == (change is other_model)


def test_a_model_that_another_process_is_at_is_computed_beside_it(home: Path, computed: list[int]) -> None:
    expected = whole(home)
    interrupted(2)
    computed.clear()
    key = next(path.name for path in (home / "work").iterdir())
    with resume_workbench(home, key, "") as (bench, mine):
        assert mine
        assert any(bench.glob("*.journal"))
        with resume_workbench(home, key, "") as (other, again):
            assert not again
            assert other != bench
        assert run(*ADD) == 0
    assert sum(computed) == 10
    assert {name: data for name, data in kept(home).items() if not name.startswith("work")} == expected
    assert not (home / "work").exists()
