"""Worker processes: what a model may do to one ends in a sentence, and the next request is answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import onnxspace
from onnxspace.errors import ConfigError, MissingLibraryError, ModelError, OutputError, UnsupportedOperatorError
from onnxspace.sandbox import limits as module
from onnxspace.sandbox.limits import Limits, machine_limits, parse_limits, resolve_limits
from onnxspace.sandbox.worker import Worker, borrow_worker, close_idle_workers

pytestmark = pytest.mark.process
TASKS = "tests.sandbox.crashing_tasks"
ROOT = Path(onnxspace.__file__).parents[1]
GIB = 2**30


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = Worker(TASKS, Limits(2 * GIB, 20, 20))
    yield found
    found.close()


def is_running(process: int) -> bool:
    """Whether a process runs; one that has ended may wait for its parent's notice."""
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] not in "ZX"


def wait_for_end(process: int) -> None:
    for _ in range(1000):
        if not is_running(process):
            return
        time.sleep(0.02)
    raise AssertionError(f"process {process} still runs")


@pytest.mark.skipif(sys.platform != "linux", reason="the system says what is untouched on Linux alone")
def test_what_libraries_reserve_and_never_touch_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a GiB is reserved; of the limit of a quarter, the interpreter takes less than a half."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    worker = Worker("tests.sandbox.reserving_tasks", Limits(GIB // 4, 20, 20))
    try:
        assert worker.perform({"task": "fill", "bytes": GIB // 8}) == {"bytes": GIB // 8}
        with pytest.raises(ModelError, match=r"net\.onnx needs more than 0\.25G of memory"):
            worker.perform({"task": "fill", "path": "net.onnx", "bytes": GIB // 4})
    finally:
        worker.close()


DEATHS = {
    "division by zero": (
        {"task": "crash", "signal": signal.SIGFPE},
        r"ended the process that read it \(signal 8\)\. Leave it out",
    ),
    "segmentation fault": (
        {"task": "crash", "signal": "segfault"},
        r"ended the process that read it \(signal 11\)\. Leave it out",
    ),
    "out of memory": ({"task": "allocate", "bytes": 3 * GIB}, r"needs more than 2G of memory\. .* --limits memory=…"),
    "killed": ({"task": "crash", "signal": signal.SIGKILL}, r"\(signal 9\), probably out of memory \(limit 2G\)"),
    "abort": ({"task": "crash", "signal": signal.SIGABRT}, r"\(signal 6\), probably out of memory"),
}


@pytest.mark.parametrize("kind", DEATHS)
def test_a_death_is_a_sentence_and_the_next_model_is_read(worker: Worker, kind: str) -> None:
    request, sentence = DEATHS[kind]
    before = worker.perform({"task": "answer"})["pid"]
    with pytest.raises(ModelError, match=rf"^net\.onnx .*{sentence}"):
        worker.perform({**request, "path": "net.onnx"})
    wait_for_end(before)
    after = worker.perform({"task": "answer"})["pid"]
    assert after != before
    assert worker.perform({"task": "answer"})["pid"] == after


def test_time_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    worker = Worker(TASKS, Limits(2 * GIB, 1, 3))
    try:
        with pytest.raises(ModelError, match=r"net\.onnx was stopped after 1 seconds of processor time\. .*--limits cpu=…"):
            worker.perform({"task": "spin", "path": "net.onnx"}, wall=60)
        with pytest.raises(ModelError, match=r"net\.onnx was stopped after 3 seconds\. .*--limits wall=…"):
            worker.perform({"task": "sleep", "times": 1, "seconds": 30, "path": "net.onnx"})
        assert worker.perform({"task": "sleep", "times": 8, "seconds": 0.5}, wall=2) == {}  # a step at a time
    finally:
        worker.close()


def test_the_start_of_the_process_is_not_time_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine, where libraries take longer to import than a model may take."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    worker = Worker("tests.sandbox.slow_tasks", Limits(2 * GIB, 20, 1))
    try:
        assert worker.perform({"task": "answer", "path": "net.onnx"}) == {"started": 3.0}
        with pytest.raises(ModelError, match=r"net\.onnx was stopped after 1 seconds\. .*--limits wall=…"):
            worker.perform({"task": "sleep", "path": "net.onnx"})
        assert worker.timed_out
    finally:
        worker.close()


def test_a_process_that_does_not_start_is_not_the_models_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("onnxspace.sandbox.worker.START_SECONDS", 0.5)
    worker = Worker("tests.sandbox.slow_tasks", Limits(2 * GIB, 20, 60))
    with pytest.raises(ModelError, match=r"net\.onnx was not opened, since the process that reads models had not started"):
        worker.perform({"task": "answer", "path": "net.onnx"})
    assert worker.dead
    assert not worker.timed_out


def test_errors_of_tasks_are_raised_as_they_were(worker: Worker) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"^net\.onnx has an operator\.$"):
        worker.perform({"task": "fail", "how": "ours"})
    with pytest.raises(OutputError) as found:
        worker.perform({"task": "fail", "how": "disk"})
    assert found.value.errno == 28
    with pytest.raises(ModelError, match=r"^net\.onnx failed unexpectedly \(RuntimeError: a defect\)\.$"):
        worker.perform({"task": "fail", "how": "theirs", "path": "net.onnx"})
    assert not worker.dead


def test_what_a_library_prints_is_no_answer(worker: Worker) -> None:
    assert worker.perform({"task": "chatter"}) == {"honest": True}


def test_progress_is_passed_on(worker: Worker) -> None:
    seen: list[int] = []
    worker.perform({"task": "answer", "progress": [1, 2, 3]}, seen.append)
    assert seen == [1, 2, 3]


def test_the_environment_is_clean(worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "onnx.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.pathsep}.")
    found = worker.perform({"task": "answer"})
    assert "secret" not in found["environment"].values()
    assert found["environment"]["PYTHONPATH"] == str(ROOT)
    assert not {"", ".", str(tmp_path)} & set(found["path"])
    assert found["folder"] == str(tmp_path)


def test_an_interruption_ends_the_process(worker: Worker) -> None:
    def interrupted(_images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.perform({"task": "sleep", "times": 99, "seconds": 0.1}, interrupted)
    assert worker.dead
    wait_for_end(worker.pid)


def test_what_a_process_has_started_ends_with_it(worker: Worker) -> None:
    other = worker.perform({"task": "start other"})["pid"]
    assert is_running(other)
    worker.close()
    wait_for_end(other)


PARENT = """
import sys
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.worker import Worker
worker = Worker("tests.sandbox.crashing_tasks", Limits())
worker.perform({"task": "answer"})
print(worker.pid, flush=True)
worker.perform({"task": sys.argv[1]})
"""


@pytest.mark.parametrize("task", ["spin", "block"])
def test_the_process_ends_when_its_parent_is_killed(task: str) -> None:
    """Even one that is held up in a library, where none of its threads runs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT, task]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
    wait_for_end(child)


def test_a_worker_is_kept_for_the_next_block_and_shared_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    allowed, seen = Limits(2 * GIB, 30, 30), []

    def use() -> None:
        with borrow_worker(TASKS, allowed) as found:
            seen.append(found.perform({"task": "answer"})["pid"])
            barrier.wait(30)

    barrier = threading.Barrier(1)
    use()
    use()
    assert seen[0] == seen[1]
    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[2] != seen[3]
    close_idle_workers()
    for process in seen:
        wait_for_end(process)


def test_an_idle_process_that_has_died_is_replaced(worker: Worker) -> None:
    first = worker.perform({"task": "answer"})["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for_end(first)
    assert worker.perform({"task": "answer"})["pid"] != first


def test_limits_are_read() -> None:
    assert parse_limits("memory=4G,cpu=600,wall=300") == Limits(4 * GIB, 600, 300)
    assert parse_limits("memory=1G", Limits()).memory == GIB
    assert parse_limits("wall=5", Limits(3 * GIB, 7, 8)) == Limits(3 * GIB, 7, 5)
    for wrong in (
        "memory=4",
        "memory=1M",
        "memory=1023M",
        "cpu=0",
        "time=3",
        "wall=x",
        "",
        "wall=²",
        "memory=" + "9" * 99 + "G",
    ):
        with pytest.raises(ConfigError, match="--limits"):
            parse_limits(wrong)
    assert resolve_limits(None) == machine_limits()
    assert resolve_limits("cpu=7") == Limits(machine_limits().memory, 7, machine_limits().wall)


def forget_memory() -> None:
    machine_limits.cache_clear()


def test_limits_are_those_of_the_machine_or_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "memory.max"
    monkeypatch.setattr(module, "_CONTAINERS", (file,))
    file.write_text("max\n")
    forget_memory()
    whole = machine_limits().memory
    file.write_text(f"{6 * GIB}\n")
    forget_memory()
    assert machine_limits().memory == min(whole, 3 * GIB)
    forget_memory()


def test_a_library_that_is_not_installed_is_named_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    worker = Worker("tests.sandbox.missing_tasks", Limits(2 * GIB, 20, 20))
    for _ in range(2):
        with pytest.raises(MissingLibraryError, match=r"requires a_library_that_is_not_installed, .*pip install onnxspace"):
            worker.perform({"task": "open", "path": "a.onnx"})
    worker.close()


def test_a_process_that_ends_by_itself_is_not_said_to_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for _ in range(5):
        worker = Worker("tests.sandbox.ending_tasks", Limits(2 * GIB, 20, 20))
        with pytest.raises(ModelError, match=r"a.onnx was not opened, .* ended while it started \(code 7\)"):
            worker.perform({"task": "open", "path": "a.onnx"})
