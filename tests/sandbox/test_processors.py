"""The number of processors of a process in a container, and how its workers' threads wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxspace.sandbox import processors
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.processors import count_processors, find_quota, thread_environment
from onnxspace.sandbox.worker import Worker


def write_groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Control groups with these files, and the file that names those of the process."""
    for name, content in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "own").write_text(own)
    return folder / "groups", folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "150000 100000\n", "a.slice/b.scope/cpu.max": "max 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "50000 100000\n"}, 0.5),
        ("4:cpu,cpuacct:/docker/x\n", {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "300000\n",
                                       "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n"}, 3.0),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/../../etc\n", {"cpu.max": "garbage\n"}, None),
        ("no groups", {"cpu.max": "1 0 0\n"}, None),
    ],
)  # fmt: skip
def test_the_smallest_quota_of_the_groups_holds(
    tmp_path: Path, own: str, files: dict[str, str], expected: float | None
) -> None:
    assert find_quota(*write_groups(tmp_path, own, files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert find_quota(tmp_path / "groups", tmp_path / "own") is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (2.0, 2), (1.5, 2), (0.2, 1), (64.0, 8)])
def test_a_process_uses_what_affinity_and_quota_allow(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(processors, "_count_affine", lambda: 8)
    monkeypatch.setattr(processors, "find_quota", lambda: quota)
    assert count_processors() == expected
    assert thread_environment({}).get("OMP_NUM_THREADS") == (str(expected) if expected < 8 else None)
    assert "OMP_NUM_THREADS" not in thread_environment({"OMP_NUM_THREADS": "3"})
    assert thread_environment({"OMP_NUM_THREADS": "3"}, 5)["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize("stated", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_threads_soon_sleep_unless_the_user_says_how_they_wait(stated: str) -> None:
    assert thread_environment({}).items() >= {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}.items()
    assert not {"GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & thread_environment({stated: "1"}).keys()


@pytest.mark.process
def test_a_worker_computes_with_as_many_threads_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    worker = Worker("tests.sandbox.threads_task", Limits(), threads=1)
    try:
        found = worker.perform({"task": "threads"})
    finally:
        worker.close()
    assert found == {"torch": 1, "session": 1, "environment": ["1", os.environ.get("GOMP_SPINCOUNT", "10000")]}
