"""Ctrl-C, a full disk, a reader that leaves: what was kept before stays, and nothing half-written appears.

Computed maps wait in a hidden folder for the next run, which test_resume.py follows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onnxspace.report import result_folder
from onnxspace.similarity.affinity import Affinity
from tests.helpers import nets
from tests.helpers.commands import exit_code as run
from tests.helpers.disks import file_size_limit

SCORE = ("score", "a.onnx", "b.onnx", "--images", "2", "--quiet")
KEPT = {"affinity.csv", "affinity.npy", "affinity.png", "maps", "rankings.csv", "score.json"}
#: Runs the command line, and stops for a signal right after the function that is named first was called.
CHILD = """
import importlib, signal, sys, time
sys.path.append("ROOT")
from onnxspace.workflows import session
from tests.helpers.direct import borrow_direct
session.borrow_worker, session.start_workers = borrow_direct, lambda *arguments: None
from onnxspace.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has background jobs ignore it
module, *path, name = sys.argv.pop(1).split("/")
place = importlib.import_module(module)
for step in path:
    place = getattr(place, step)
called = getattr(place, name)
def stop(*arguments, **options):
    found = called(*arguments, **options)
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
    return found
setattr(place, name, stop)
main()
""".replace("ROOT", str(Path(__file__).parents[2]))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two good models, which is the current one and has its own place for temporary files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    nets.save(nets.plain_classifier(5), tmp_path / "a.onnx")
    nets.save(nets.plain_classifier(7), tmp_path / "b.onnx")
    return tmp_path


def left(place: Path) -> set[str]:
    """What lies there besides the models, hidden and temporary files included."""
    temporary = (place / "tmp").glob("onnxspace*")  # libraries keep files of their own there
    found = {path.relative_to(place).as_posix() for path in (*place.iterdir(), *temporary)}
    return found - {"a.onnx", "b.onnx", "tmp"}


def assert_one_line(text: str, *words: str) -> None:
    assert text.startswith("onnxspace: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    for word in words:
        assert word in text


APPEND = "onnxspace.workflows.child.representations/MapWriter/append"
STOPS = {
    "Ctrl-C when opening": (signal.SIGINT, "onnxspace.workflows.child.open/open_model", ("--output", "new/kept"), set()),
    "Ctrl-C in the maps": (signal.SIGINT, APPEND, ("--output", "new/kept"), {"new"}),
    "Ctrl-C in the results": (
        signal.SIGINT,
        "onnxspace.workflows.compare/write_results",
        ("--output", "kept"),
        {".kept.unfinished"},
    ),
    "SIGTERM": (signal.SIGTERM, APPEND, ("--output", "kept"), {".kept.unfinished"}),
    "SIGTERM, nothing to keep": (signal.SIGTERM, APPEND, (), set()),
}


@pytest.mark.parametrize("name", STOPS)
def test_signal_leaves_computed_maps_only(place: Path, warm_python: Path, name: str) -> None:
    number, function, arguments, remains = STOPS[name]
    command = [warm_python, "-c", CHILD, function, *SCORE, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert any(line == "ready\n" for line in child.stderr)
        child.send_signal(number)
        out, err = child.communicate(timeout=50)
    assert (child.returncode, out) == (128 + number, "")
    assert "Traceback" not in err
    assert ("interrupted; nothing was kept." in err) == (number == signal.SIGINT and not remains)
    assert (".kept.unfinished, and the same command, started again, continues there." in err) == bool(remains)
    assert left(place) == remains
    if remains:
        assert run(*SCORE, *arguments) == 0
        assert left(place) == {arguments[1].split("/")[0]}
        assert {path.name for path in Path(arguments[1]).iterdir()} == KEPT


def test_second_run_replaces_the_first(place: Path) -> None:
    assert run(*SCORE, "--output", "kept") == 0
    Path("link").symlink_to("kept")
    assert run("score", "b.onnx", "a.onnx", "--images", "2", "--quiet", "--output", "link") == 0
    assert {path.name for path in Path("kept").iterdir()} == KEPT
    assert [model["name"] for model in json.loads(Path("kept/score.json").read_text())["models"]] == ["b", "a"]
    assert left(place) == {"kept", "link"}
    assert Path("link").is_symlink()


def test_failed_run_leaves_the_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(*SCORE, "--output", "kept") == 0
    before = Path("kept/score.json").read_bytes()
    monkeypatch.setattr("onnxspace.workflows.compare.write_results", full_after(0))
    assert run(*SCORE, "--output", "kept") == 2
    assert Path("kept/score.json").read_bytes() == before
    assert left(place) == {"kept", ".kept.unfinished"}


def test_place_is_taken_back_when_the_swap_fails(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(*SCORE, "--output", "kept") == 0
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "result":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    assert run(*SCORE, "--output", "kept") == 130
    assert {path.name for path in Path("kept").iterdir()} == KEPT
    assert left(place) == {"kept", ".kept.unfinished"}
    monkeypatch.undo()
    assert not (place / ".kept.unfinished/result.old").exists()


def folder_of_notes() -> None:
    Path("kept").mkdir()
    Path("kept/notes.txt").write_text("mine")


def result_with_notes() -> None:
    assert run(*SCORE, "--output", "kept") == 0
    Path("kept/notes.txt").write_text("mine")


def result_of_another_tool() -> None:
    Path("kept").mkdir()
    Path("kept/score.json").write_text('{"schema": "another/1"}')


TAKEN: dict[str, Callable[[], object]] = {
    "folder": folder_of_notes,
    "result with notes": result_with_notes,
    "another tool's": result_of_another_tool,
    "file": lambda: Path("kept").write_text("mine"),
    "dangling link": lambda: Path("kept").symlink_to("nowhere"),
    "pipe": lambda: os.mkfifo("kept"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_there_already_is_left_alone(place: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    TAKEN[name]()
    before = {path: path.lstat().st_mtime_ns for path in Path().rglob("kept*")}
    capfd.readouterr()
    assert run(*SCORE, "--output", "kept") == 2
    assert_one_line(capfd.readouterr().err, "kept already exists", "Name another --output")
    assert {path: path.lstat().st_mtime_ns for path in Path().rglob("kept*")} == before
    assert left(place) == {"kept"}


@pytest.mark.parametrize("target", ["a.onnx/kept", "/proc/kept", "/proc/self/kept/here", "x" * 300, "/", ".", ""])
def test_place_that_takes_no_folder(place: Path, capfd: pytest.CaptureFixture[str], target: str) -> None:
    assert run(*SCORE, "--output", target) == 2
    assert_one_line(capfd.readouterr().err, target, "ame another --output" if target != "/" else "as --output")
    assert left(place) == set()


def full_after(size: int) -> Callable[[Path, Affinity], None]:
    """`write_results` on a disk that takes no file beyond `size`."""

    def write(target: Path, result: Affinity) -> None:
        with file_size_limit(size):
            result_folder.write_results(target, result)

    return write


@pytest.mark.parametrize("arguments", [(), ("--output", "kept"), ("--output", "new/place/kept")])
def test_full_disk_in_the_maps(place: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    with file_size_limit(50_000):
        code = run(*SCORE, *arguments)
    assert code == 2
    assert_one_line(capfd.readouterr().err, ".npy can't be written (File too large)", "Free some space")
    assert left(place) == set()


@pytest.mark.parametrize("size", [0, 100, 500, 2000])
def test_full_disk_in_the_results(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("onnxspace.workflows.compare.write_results", full_after(size))
    assert run(*SCORE, "--output", "kept") == 2
    assert_one_line(capfd.readouterr().err, "kept can't be written", "Free some space", "4 maps are kept in")
    assert left(place) == {".kept.unfinished"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB: room for one model's maps, not for two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_really_full_disk(place: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*SCORE, "--output", str(small_disk / "kept")) == 2
    assert_one_line(
        capfd.readouterr().err, "can't be written (No space left on device)", "Free some space", "2 maps are kept in"
    )
    assert [path.name for path in small_disk.iterdir()] == [".kept.unfinished"]


def test_a_disk_that_was_full_is_gone_on_with(place: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*SCORE, "--output", str(small_disk / "kept")) == 2
    assert subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)]).returncode == 0
    assert run(*SCORE, "--output", str(small_disk / "kept")) == 0
    assert [path.name for path in small_disk.iterdir()] == ["kept"]


def test_mount_point_is_not_replaced(place: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*SCORE, "--output", str(small_disk)) == 2
    assert_one_line(capfd.readouterr().err, "is a mount point", "Name a folder inside it")


COMMANDS = {"inspect": ("inspect", "a.onnx"), "json": ("inspect", "a.onnx", "--json"), "help": ("--help",)}


#: `python -m onnxspace` in a fresh interpreter, whose worker is a warm process.
PROGRAM = "import runpy, sys; sys.executable = {!r}; runpy.run_module('onnxspace', run_name='__main__', alter_sys=True)"
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(place: Path, warm_python: Path) -> Shell:
    """Run `onnxspace ARGUMENTS` with a redirection, in bash."""

    def run_redirected(words: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM.format(str(warm_python)), *arguments]
        script = f'set -o pipefail; "$0" "$@" {words}'
        return subprocess.run(["bash", "-c", script, *command], capture_output=True, text=True, timeout=60)

    return run_redirected


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_output_on_a_full_device(shell: Shell, name: str) -> None:
    found = shell("> /dev/full", *COMMANDS[name])
    assert found.returncode == 2
    assert_one_line(found.stderr, "No space left on device")


@pytest.mark.parametrize("name", COMMANDS)
def test_reader_that_leaves(shell: Shell, name: str) -> None:
    found = shell("| true", *COMMANDS[name])
    assert (found.returncode, found.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("words", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_closed_streams(shell: Shell, words: str) -> None:
    found = shell(words, "inspect", "a.onnx")
    assert (found.returncode, found.stderr) == (0, "")
    assert shell(words, "inspect", "gone.onnx").returncode == 2


def test_terminal_without_unicode(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    found = shell("| iconv -f latin1", "inspect", "a.onnx")
    assert (found.returncode, found.stderr) == (0, "")
    assert "\\u2192" in found.stdout
