"""A run that was stopped, started again: no map is computed twice, and the result is the same to the byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.attribution import cache_key as recipe
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.gradients import Batch, Passed
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter
from onnxspace.storage.resume import workplace
from tests.helpers.commands import exit_code as run
from tests.helpers.networks import Net, classifier, save

CLASSIFIERS = "ab"
IMAGES, BATCH = 5, 2
#: Sampled units give a standard error, Elu a warning, and a bright-only network zero maps.
SCORE = ("score", "a.onnx", "b.onnx", "--images", str(IMAGES), "--batch-size", str(BATCH), "--json", "--output", "kept")
UNITS = ("--method", "unit-saliency", "--units", "3", "--encoder", "t3")
Content = dict[str, bytes]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Draw pictures of the result only after SIGKILL."""
    if request.node.originalname != "test_killed":
        monkeypatch.setattr("onnxspace.report.heatmap.draw_affinity", sketch)


def sketch(result: ox.Affinity, path: Path) -> None:
    path.write_text(repr(result.names))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are computed from now on."""
    seen: list[int] = []
    passed = Explainer.passed

    def counted(self: Explainer, batch: Batch) -> Passed:
        seen.append(len(batch.values))
        return passed(self, batch)

    monkeypatch.setattr(Explainer, "passed", counted)
    return seen


def content(folder: Path | str) -> Content:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def whole(place: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]) -> tuple[Content, str]:
    """What an undisturbed run of the command keeps and prints."""
    assert run(*command[:-1], "reference") == 0
    return content("reference"), capfd.readouterr().out


def stop_after(monkeypatch: pytest.MonkeyPatch, appends: int) -> None:
    """Ctrl-C right after so many batches were stored."""
    append, count = MapWriter.append, 0

    def stopped(self: MapWriter, *arguments: Any) -> None:
        nonlocal count
        append(self, *arguments)
        count += 1
        if count == appends:
            raise KeyboardInterrupt

    monkeypatch.setattr(MapWriter, "append", stopped)


def interrupt(appends: int, *command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, appends)
        assert run(*command) == 130


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
    assert "2 of 4 maps are zero" in expected.warnings[1]
    assert "has no rule for Sin ×1" in expected.warnings[0]
    assert content("kept") == content("reference")


#: Runs the command line; kills the process when the function that is named first is called for the given time.
CHILD = """
import importlib, os, signal, sys
from onnxspace.attribution import cache_key as recipe
from onnxspace.cli import main
recipe._code = lambda: "unchanged"
module, *path, name = sys.argv.pop(1).split("/")
left = int(sys.argv.pop(1))
place = importlib.import_module(module)
for step in path:
    place = getattr(place, step)
called = getattr(place, name)
def die(*arguments, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return called(*arguments, **options)
setattr(place, name, die)
main()
"""
#: Where SIGKILL strikes → the maps that are still to be computed.
MOMENTS = {
    "rows without their line": ("onnxspace.storage.journal/Journal/add", 2, 8),
    "between models": ("onnxspace.storage.journal/Journal/end", 1, 5),
    "finished, not renamed": ("pathlib/Path/replace", 2, 0),
    "in the results": ("onnxspace.workflows.run/write_results", 1, 0),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_killed(
    place: Path,
    capfd: pytest.CaptureFixture[str],
    computed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    warm_python: Path,
    name: str,
) -> None:
    monkeypatch.setattr(recipe, "_code", lambda: "unchanged")  # by those who work on it while this runs
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


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0" * 100_000)


def cut(length: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, path.stat().st_size + length if length < 0 else length)


def flipped(at: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        made = bytearray(path.read_bytes())
        made[at] ^= 1
        path.write_bytes(made)

    return flip


def line(record: object) -> bytes:
    text = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def added(*records: object) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes() + b"".join(map(line, records)))


SHARD = {"rows": 1, "crc": 0, "zeros": 0, "errors": []}
ROWS, LINES = ".*.partial", "*.journal"
#: What happens to an unfinished file (4 of 5 maps stored, 2 at a time) → maps that are then missing.
DAMAGE: dict[str, tuple[str, Callable[[Path], object], int]] = {
    "none": (ROWS, lambda path: None, 1),
    "rows gone": (ROWS, Path.unlink, 5),
    "rows empty": (ROWS, cut(0), 5),
    "torn row": (ROWS, cut(-1), 3),
    "more rows than lines": (ROWS, lengthened, 1),
    "header flipped": (ROWS, flipped(8), 5),
    "first row flipped": (ROWS, flipped(200), 5),
    "last row flipped": (ROWS, flipped(-1), 3),
    "journal gone": (LINES, Path.unlink, 5),
    "journal empty": (LINES, cut(0), 5),
    "torn line": (LINES, cut(-1), 3),
    "line flipped": (LINES, flipped(-5), 3),
    "first line flipped": (LINES, flipped(0), 5),
    "zeros after the last line": (LINES, lengthened, 1),
    "not UTF-8": (LINES, lambda path: path.write_bytes(b"\xff\xfe" * 99), 5),
    "deep": (LINES, lambda path: path.write_bytes(b"%08x %s\n" % (zlib.crc32(b"[" * 10**5), b"[" * 10**5)), 5),
    "a row that is not there": (LINES, added(SHARD), 1),
    "too many rows": (LINES, added({**SHARD, "rows": 10**6}), 1),
    "no rows": (LINES, added({**SHARD, "rows": 0}), 1),
    "rows are text": (LINES, added({**SHARD, "rows": "1"}), 1),
    "rows are true": (LINES, added({**SHARD, "rows": True}), 1),
    "errors that are none": (LINES, added({**SHARD, "errors": [float("nan")]}), 1),
    "remarks too early": (LINES, added({"remarks": ["wrong"]}), 1),
    "remarks are a number": (LINES, added({"remarks": 3}), 1),
    "remarks of another kind": (LINES, added({"remarks": [["wrong"]]}), 1),
    "a list": (LINES, added([]), 1),
}


RAW = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float16)


def store(path: Path, most: int = IMAGES) -> tuple[int, tuple[str, ...] | None]:
    """Store what is missing of five maps, but not more than `most`; gives how many there were before, and the remarks."""
    with MapWriter(path, IMAGES, 300, Journal(path.with_suffix(".journal"), IMAGES)) as writer:
        there = writer.rows
        for first in range(there, most, BATCH):
            writer.append(RAW[first : min(first + BATCH, most)], [0.5] * min(BATCH, most - first))
        assert writer.errors == [0.5] * most
        if most == IMAGES and writer.remarks is None:
            writer.finish(("a remark",))
        return there, writer.remarks


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_rows_count_as_never_written(tmp_path: Path, name: str) -> None:
    path, expected = tmp_path / "maps.npy", tmp_path / "expected.npy"
    assert store(path, 4) == (0, None)
    assert not path.exists()
    pattern, damage, missing = DAMAGE[name]
    damage(next(tmp_path.glob(pattern)))
    assert store(path) == (IMAGES - missing, ("a remark",))
    np.save(expected, RAW)
    assert path.read_bytes() == expected.read_bytes()
    assert store(path) == (IMAGES, ("a remark",))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    """A folder with a run that was stopped in its second model, and the content that its result must have."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("onnxspace.report.heatmap.draw_affinity", sketch)
        for seed, name in enumerate("ab"):
            save(classifier(seed=seed), folder / f"{name}.onnx")
        assert run(*SCORE[:-1], "reference") == 0
        interrupt(5, *SCORE)
        return folder, content("reference")


@pytest.mark.parametrize("name", ["none", "torn row", "first row flipped", "torn line", "journal gone"])
def test_damaged_work_is_computed_again(
    stopped: tuple[Path, Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int], name: str
) -> None:
    folder, expected = stopped
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    pattern, damage, missing = DAMAGE[name]
    rows = next(Path(".kept.unfinished").glob(f"*/{ROWS}"))
    damage(rows if pattern == ROWS else rows.with_name(rows.name[1:].replace(".npy.partial", ".journal")))
    assert run(*SCORE) == 0
    assert sum(computed) == missing
    assert content("kept") == expected
    assert not Path(".kept.unfinished").exists()


def test_a_damaged_finished_file_is_mended(stopped: tuple[Path, Content], tmp_path: Path, computed: list[int]) -> None:
    folder, expected = stopped
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = next(path for path in Path(".kept.unfinished").glob("*/*.npy") if path.name[0] != ".")
        flipped(-1)(done)
        os.link(done, "elsewhere.npy")  # as part of a result
        before = Path("elsewhere.npy").read_bytes()
        assert run(*SCORE) == 0
        assert sum(computed) == 1 + 1
        assert content("kept") == expected
        assert Path("elsewhere.npy").read_bytes() == before


def picture(value: int, path: str = "base.png") -> None:
    Image.fromarray(np.full((30, 30, 3), value, np.uint8)).save(path)


Setting = Callable[[pytest.MonkeyPatch], tuple[str, ...]]


def says(*arguments: str) -> Setting:
    return lambda patch: arguments


def config(text: str) -> Setting:
    def write(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
        Path("onnxspace.toml").write_text(text)
        return ()

    return write


def patched(name: str, value: object) -> Setting:
    def patch_it(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
        patch.setattr(name, value)
        return ()

    return patch_it


def new_file(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    save(classifier(seed=9), Path("a.onnx"))
    return ()


def new_picture(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    picture(9)
    return ()


def moved_picture(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    picture(5, "moved.png")
    return ("--baseline", "moved.png")


#: What is different in the second command → whether maps of the first can be used.
CHANGES: dict[str, tuple[Setting, bool]] = {
    "nothing": (says(), True),
    "the place of the baseline": (moved_picture, True),
    "the name of a model": (config('[models.a]\nname = "first"\n'), True),
    "the baseline's pixels": (new_picture, False),
    "baseline": (says("--baseline", "zero"), False),
    "method": (says("--method", "gradient-x-input"), False),
    "rule": (config('[rules.elrp]\nRelu = "gradient"\n'), False),
    "epsilon": (config("[rules.elrp]\nepsilon = 1e-2\n"), False),
    "encoder": (says("--encoder", "t1"), False),
    "preprocessing": (config('[models.a]\nscale = "1/255"\n'), False),
    "file": (new_file, False),
    "images": (says("--images", "3"), False),
    "probe": (says("--seed", "1"), False),
    "batch size": (says("--batch-size", "1"), False),
    "library": (patched("onnxspace.attribution.cache_key._version", lambda name: "0"), False),
    "code": (patched("onnxspace.attribution.cache_key._code", lambda: "other"), False),
    "threads": (patched("torch.get_num_threads", lambda: 99), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_maps_of_another_command_are_not_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int], name: str
) -> None:
    picture(5)
    command = (*SCORE, "--baseline", "base.png")
    interrupt(1, *command)
    change, fits = CHANGES[name]
    with monkeypatch.context() as patch:
        extra = change(patch)
        computed.clear()
        assert run(*command, *extra) == 0
    images = 3 if name == "images" else IMAGES
    assert sum(computed) == 2 * images - (BATCH if fits else 0)
    assert not Path(".kept.unfinished").exists()


def test_a_rule_from_python_is_never_taken_for_the_same(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    from onnxspace.attribution.lrp import RULES

    probes = ox.Probes.generate(1, size=16)
    first = recipe.recipe("elrp", None, probes, "cpu", None)
    assert first == recipe.recipe("elrp", None, probes, "cpu", None)
    monkeypatch.setitem(RULES, "ratio", lambda site: site.module)
    assert len({first, *(recipe.recipe("elrp", None, probes, "cpu", None) for _ in range(2))}) == 3


def test_a_failure_is_not_remembered(place: Path, computed: list[int]) -> None:
    good = Path("a.onnx").read_bytes()
    Path("a.onnx").write_bytes(b"broken")
    interrupt(2, *SCORE)
    Path("a.onnx").write_bytes(good)
    assert run(*SCORE) == 0
    assert sum(computed) == 2 * IMAGES
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
    with workplace(Path("kept").absolute(), "0" * 16, 1):
        capfd.readouterr()
        assert run(*SCORE) == 2
        assert capfd.readouterr().err.startswith("onnxspace: Another run is at work in ")
        assert {name: text for name, text in content(".kept.unfinished").items() if name in before} == before
        assert run(*SCORE[:-1], "another") == 0
    assert not Path(".kept.unfinished").exists()


def strange_link() -> None:
    Path("elsewhere").mkdir()
    Path(".kept.unfinished").symlink_to("elsewhere")


def strange_notes() -> None:
    Path(".kept.unfinished").mkdir()
    Path(".kept.unfinished/notes.txt").write_text("mine")


STRANGERS: dict[str, Callable[[], object]] = {
    "file": lambda: Path(".kept.unfinished").write_text("mine"),
    "link": strange_link,
    "notes": strange_notes,
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_of_that_name_is_left_alone(place: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    STRANGERS[name]()
    before = sorted(path.as_posix() for path in place.rglob("*"))
    assert run(*SCORE) == 2
    assert "is there already and is something else. Remove it, or name another --output." in capfd.readouterr().err
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
        patch.setattr("onnxspace.workflows.run.write_results", meanwhile)
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
