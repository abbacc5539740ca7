"""How much memory a process may still take: its limit, those of its control groups, and the machine's."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from onnxspace.sandbox import memory
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.memory import count_free_memory

GIB, RESERVED = 2**30, 2**26


def write_system(
    folder: Path, groups: dict[str, str], own: str = "0::/a\n", taken: int = 1, free: int = 20
) -> tuple[Path, Path, Path]:
    """The files of a system where this process has `taken` GiB of data, 4 GiB in memory, and the machine has `free` GiB left."""
    for name, content in groups.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    process = folder / "process"
    process.mkdir()
    (process / "cgroup").write_text(own)
    (process / "status").write_text(f"Name:\tpython\nVmRSS:\t{4 * 2**20} kB\nVmData:\t{taken * 2**20} kB\n")
    (folder / "machine").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free * 2**20} kB\n")
    return folder / "groups", process, folder / "machine"


@pytest.mark.parametrize(
    ("groups", "own", "expected"),
    [
        ({}, "0::/a\n", 7),  # 8 of the limit, of which 1 is taken
        ({"a/memory.max": f"{5 * GIB}\n", "a/memory.current": f"{2 * GIB}\n"}, "0::/a\n", 3),
        ({"a/memory.max": f"{5 * GIB}\n", "a/memory.current": f"{4 * GIB}\n", "a/memory.stat": f"anon 1\ninactive_file {GIB}\n"}, "0::/a\n", 2),
        ({"memory.max": f"{3 * GIB}\n", "memory.current": f"{GIB}\n", "a/memory.max": "max\n"}, "0::/a\n", 2),
        ({"memory/b/memory.limit_in_bytes": f"{2 * GIB}\n", "memory/b/memory.usage_in_bytes": f"{GIB}\n"}, "9:memory:/b\n", 1),
        ({"a/memory.max": f"{GIB}\n", "a/memory.current": f"{2 * GIB}\n"}, "0::/a\n", 0),
        ({"a/memory.max": "garbage", "a/memory.current": "1"}, "no groups", 7),
    ],
)  # fmt: skip
def test_the_least_of_all_bounds_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: dict[str, str], own: str, expected: float
) -> None:
    monkeypatch.setattr(memory, "_find_limit", lambda: 8 * GIB)
    assert count_free_memory(*write_system(tmp_path, groups, own)) == max(0, expected * GIB - RESERVED)


def test_what_the_machine_has_left_is_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_find_limit", lambda: 8 * GIB)
    assert count_free_memory(*write_system(tmp_path, {}, free=2)) == 2 * GIB - RESERVED


def test_the_limit_is_that_of_the_process_where_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (5 * GIB, 5 * GIB))
    assert memory._find_limit() == 5 * GIB
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert memory._find_limit() is None


def test_without_a_limit_half_of_the_machine_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_find_limit", lambda: None)
    monkeypatch.setattr(memory, "machine_limits", lambda: Limits(6 * GIB))
    assert count_free_memory(*write_system(tmp_path, {})) == 2 * GIB - RESERVED


@pytest.mark.parametrize(
    ("status", "expected"),
    [("VmData: 900 kB\nRssAnon: 300 kB\nVmSwap: 100 kB\n", 500), ("VmData: 3 kB\nRssAnon: 5 kB\n", 0), ("VmData: 9 kB\n", 0), ("", 0)],
)  # fmt: skip
def test_what_is_untouched_is_reserved_and_neither_in_memory_nor_swapped(tmp_path: Path, status: str, expected: int) -> None:
    (tmp_path / "status").write_text(status)
    assert memory.count_untouched(tmp_path) == expected * 1024


SCRIPT = """
import json, numpy as np
from onnxspace.sandbox.memory import LARGE_BLOCKS, SMALL_BLOCKS, keep_blocks, return_memory

def taken():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))

def fill_and_free():
    before = taken()
    blocks = [np.ones(2**20, np.float32) for _ in range(64)]
    last = blocks[-1]  # keeps the end of the heap in use
    del blocks
    return taken() - before, last

keep_blocks(SMALL_BLOCKS)
returned, one = fill_and_free()
keep_blocks(LARGE_BLOCKS)
kept, two = fill_and_free()
before = taken()
return_memory()
print(json.dumps([returned, kept, before - taken()]))
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="needs GNU's C library")
def test_blocks_are_kept_or_given_back() -> None:
    """64 blocks of 4 MiB that were freed."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    returned, kept, trimmed = json.loads(done.stdout)
    assert returned < 20 * 2**20
    assert kept > 200 * 2**20
    assert trimmed > 200 * 2**20
