"""A run that was stopped, started again: no map is computed twice, and the result is the same to the byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxspace as ox
from onnxspace.attribution import cache_key
from onnxspace.storage.resume import open_work_folder
from tests.helpers.commands import exit_code as run
from tests.helpers.nets import Net, classifier, save
from tests.helpers.stopped_runs import BATCH, CHILD, IMAGES, SCORE, Content, content, interrupt, stop_after

CLASSIFIERS = "ab"
UNITS = ("--method", "unit-saliency", "--units", "3", "--encoder", "t3")


def whole(place: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]) -> tuple[Content, str]:
    """What an undisturbed run of the command keeps and prints."""
    assert run(*command[:-1], "reference") == 0
    return content("reference"), capfd.readouterr().out


@pytest.mark.parametrize(
    ("appends", "extra"), [(1, ()), (3, ()), (4, ()), (1, UNITS), (5, UNITS)], ids=lambda value: str(value)
)
def test_each_map_is_computed_once_and_the_result_is_the_same(
    place: Path, capfd: pytest.CaptureFixture[str], computed: list[int], appends: int, extra: tuple[str, ...]
) -> None:
    command = (*SCORE[:3], *extra, *SCORE[3:])
    expected, printed = whole(place, capfd, command)
    computed.clear()
    interrupt(appends, *command)
    assert "interrupted; " in capfd.readouterr().err
    assert not Path("kept").exists()
    assert run(*command) == 0
    assert computed == [2, 2, 1, 2, 2, 1]
    assert capfd.readouterr().out == printed
    assert content("kept") == expected
    assert ("standard error" in printed) == bool(extra)
    assert not Path(".kept.unfinished").exists()


def test_warnings_are_the_same(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An operator without a rule, and a network that is silent on dark images."""
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.add("Conv", "image", net.weight(np.ones((1, 3, 1, 1))), net.weight([-0.5])))
    save(net.model([net.conv(net.add("Sin", x), 1, 2, 16)]), place / "a.onnx")
    probes = ox.Probes("two", np.stack([np.full((16, 16, 3), v, np.uint8) for v in (255, 0, 0, 200)]))

    def score(name: str) -> ox.Affinity:
        return ox.score(["a.onnx", "b.onnx"], probes, encoder={"a.onnx": "t2"}, batch_size=1, output=name)

    expected = score("reference")
    for appends in (2, 3, 1, 2):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, appends)
            with pytest.raises(KeyboardInterrupt) as stopped:
                score("kept")
        assert "kept in" in stopped.value.__notes__[0]
    assert score("kept").warnings == expected.warnings
    assert any("2 of 4 maps are zero" in warning for warning in expected.warnings)
    assert any("has no rule for Sin ×1" in warning for warning in expected.warnings)
    assert content("kept") == content("reference")


#: Where SIGKILL strikes → the maps that are still to be computed.
MOMENTS = {
    "rows without their line": ("onnxspace.storage.journal/Journal/add", 2, 8),
    "between models": ("onnxspace.storage.journal/Journal/end", 1, 5),
    "finished, not renamed": ("pathlib/Path/replace", 2, 0),
    "in the results": ("onnxspace.workflows.compare/write_results", 1, 0),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_killed(
    place: Path,
    capfd: pytest.CaptureFixture[str],
    computed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    warm_python: Path,
    drawn_results: None,
    name: str,
) -> None:
    """Pictures of the result are drawn, as in the process that is killed, which knows of no fixture."""
    monkeypatch.setattr(cache_key, "_hash_code", lambda: "unchanged")  # by those who work on it while this runs
    expected, printed = whole(place, capfd, SCORE)
    function, time, left = MOMENTS[name]
    killed = subprocess.run([warm_python, "-c", CHILD, function, str(time), *SCORE], capture_output=True, timeout=50)
    assert killed.returncode == -signal.SIGKILL
    assert not Path("kept").exists()
    computed.clear()
    assert run(*SCORE) == 0
    assert sum(computed) == left
    assert capfd.readouterr().out == printed
    assert content("kept") == expected
    assert not Path(".kept.unfinished").exists()


def test_a_failure_is_not_remembered(place: Path, computed: list[int]) -> None:
    command = (*SCORE[:3], "c.onnx", *SCORE[3:])  # a single model that is left would not be explained
    save(classifier(seed=7), Path("c.onnx"))
    good = Path("a.onnx").read_bytes()
    Path("a.onnx").write_bytes(b"broken")
    interrupt(2, *command)
    Path("a.onnx").write_bytes(good)
    assert run(*command) == 0
    assert sum(computed) == 3 * IMAGES
    assert json.loads(Path("kept/score.json").read_text())["failed"] == []


def test_progress_starts_at_what_is_there(place: Path) -> None:
    interrupt(4, *SCORE)
    seen: list[tuple[str, int, int]] = []
    ox.score(
        ["a.onnx", "b.onnx"], ox.Probes.generate(IMAGES), batch_size=BATCH, output="kept",
        progress=lambda *now: seen.append(now),
    )  # fmt: skip
    total = 2 * IMAGES
    assert [done for _, done, _ in seen] == [0, 5, 5, 5, 7, 9, 10, 10]
    assert seen[-1] == ("b", total, total)


def test_a_second_run_waits_its_turn(place: Path, capfd: pytest.CaptureFixture[str], computed: list[int]) -> None:
    interrupt(3, *SCORE)
    before = content(".kept.unfinished")
    with open_work_folder(Path("kept").absolute(), "0" * 16, 1):
        capfd.readouterr()
        assert run(*SCORE) == 2
        assert capfd.readouterr().err.startswith("onnxspace: Another run is using ")
        assert {name: text for name, text in content(".kept.unfinished").items() if name in before} == before
        assert run(*SCORE[:-1], "another") == 0
    assert not Path(".kept.unfinished").exists()


def strange_link() -> None:
    Path("elsewhere").mkdir()
    Path(".kept.unfinished").symlink_to("elsewhere")


def strange_notes() -> None:
    Path(".kept.unfinished").mkdir()
    Path(".kept.unfinished/notes.txt").write_text("mine")


FOREIGN: dict[str, Callable[[], object]] = {
    "file": lambda: Path(".kept.unfinished").write_text("mine"),
    "link": strange_link,
    "notes": strange_notes,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_something_else_of_that_name_is_left_alone(place: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    FOREIGN[name]()
    before = sorted(path.as_posix() for path in place.rglob("*"))
    assert run(*SCORE) == 2
    assert "already exists and is something else. Remove it, or name another --output." in capfd.readouterr().err
    assert sorted(path.as_posix() for path in place.rglob("*")) == before


def test_work_of_one_other_command_is_kept_until_a_run_ends(place: Path, computed: list[int]) -> None:
    interrupt(1, *SCORE)
    for seed in "12":
        interrupt(1, *SCORE, "--seed", seed)
    assert len([path for path in Path(".kept.unfinished").iterdir() if path.is_dir()]) == 2
    computed.clear()
    assert run(*SCORE, "--seed", "1") == 0
    assert sum(computed) == 2 * IMAGES - BATCH
    assert not Path(".kept.unfinished").exists()


def test_an_earlier_result_stays_until_the_end(place: Path) -> None:
    assert run(*SCORE, "--seed", "1") == 0
    before = content("kept")
    interrupt(4, *SCORE)
    assert content("kept") == before
    assert run(*SCORE) == 0
    assert content("kept").keys() == before.keys()
    assert content("kept") != before


def test_what_came_meanwhile_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]) -> None:
    from onnxspace.report.result_folder import write_results

    def meanwhile(*arguments: Any) -> None:
        write_results(*arguments)
        Path("kept").mkdir()
        Path("kept/notes.txt").write_text("mine")

    with monkeypatch.context() as patch:
        patch.setattr("onnxspace.workflows.compare.write_results", meanwhile)
        assert run(*SCORE) == 2
    assert content("kept") == {"notes.txt": b"mine"}
    Path("kept").rename("notes")
    assert run(*SCORE) == 0
    assert sum(computed) == 2 * IMAGES


def test_a_result_caught_between_its_names_comes_back(place: Path) -> None:
    """The process dies after the earlier result gave up its place, before the new one has it."""
    assert run(*SCORE, "--seed", "1") == 0
    before = content("kept")
    interrupt(4, *SCORE)
    Path("kept").rename(".kept.unfinished/result.old")
    interrupt(1, *SCORE)
    assert content("kept") == before
    assert not Path(".kept.unfinished/result.old").exists()


def test_a_disk_without_links(place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = whole(place, capfd, SCORE)

    def refused(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    interrupt(2, *SCORE)
    assert run(*SCORE) == 0
    assert content("kept") == expected
