"""Work that was damaged since a run was stopped: what fails its checksum counts as never written."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter
from tests.helpers.commands import exit_code as run
from tests.helpers.stopped_runs import BATCH, IMAGES, SCORE, Content, content

CLASSIFIERS = "ab"


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
