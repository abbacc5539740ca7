"""A pipeline over models: the next one is prepared by a second worker, and nothing of the result depends on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxspace.errors import ModelError
from onnxspace.sandbox.worker import Worker, close_idle_workers
from onnxspace.workflows import ahead
from onnxspace.workflows.ahead import NextModel
from tests.helpers.commands import Run, runner, save_classifiers
from tests.sandbox.test_worker import is_running, wait_for_end

NAMES = "abcd"
THREADS = ("--threads", "2")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(save_classifiers(tmp_path, NAMES))
    (tmp_path / "c.onnx").write_bytes(b"no model")
    return tmp_path


def read_folder(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def score(run: Run, folder: str, *more: str) -> tuple[int, str, str, dict[str, bytes]]:
    by = ("--by", "attribution", "--by", "predictivity")
    models = [f"{name}.onnx" for name in NAMES]
    code, out, err = run("score", *models, "--images", "9", *by, "--json", "--output", folder, *THREADS, *more)
    return code, out, err, read_folder(Path(folder))


@pytest.mark.process
@pytest.mark.usefixtures("sandboxed", "warm_children")
def test_results_warnings_and_errors_are_those_of_one_worker_to_the_byte(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[str] = []
    take = NextModel.take

    def count(self: NextModel, model: Any) -> None:
        before = self.session.worker
        take(self, model)
        prepared.extend([model.record.name] if self.session.worker is not before else [])

    monkeypatch.setattr(NextModel, "take", count)
    monkeypatch.setattr(ahead, "count_processors", lambda: 1)
    alone = score(run, "alone")
    assert prepared == []
    monkeypatch.setattr(ahead, "count_processors", lambda: 2)
    together = score(run, "together")
    assert prepared == ["b"]  # c can't be opened, so that nothing is prepared before d
    assert (alone[0], alone[1:3]) == (2, together[1:3])
    assert alone[3] == together[3]
    assert json.loads(alone[1])["failed"][0]["path"] == "c.onnx"


class DyingWorker:
    """Dies at its first task, of which it says that it took all its time, or not."""

    pid = 1

    def __init__(self, *, timed_out: bool) -> None:
        self.timed_out = timed_out

    def perform(self, request: Any, advance: Any = None, wall: Any = None) -> Any:
        raise ModelError("a.onnx was stopped.")


@pytest.mark.parametrize("timed_out", [True, False])
def test_a_worker_that_dies_ahead_is_reported_at_the_models_turn_or_tried_again(timed_out: bool) -> None:
    from onnxspace.inputs.execution import Execution
    from onnxspace.similarity.records import ModelRecord
    from onnxspace.workflows.requests import DescribedModel, LocatedModel
    from onnxspace.workflows.session import ModelSession

    located = LocatedModel("a.onnx", "a", "a.onnx", None, {})
    record = ModelRecord("a", "a.onnx", "0" * 64, "t", "x", 17, "", ())
    model = DescribedModel(located, record, (), "k", "{}", 8, ("t",), "")
    own, spare = Worker("none", Execution().limits), DyingWorker(timed_out=timed_out)
    pair = NextModel(
        ModelSession(own, Path(), Execution()),
        ModelSession(spare, Path(), Execution()),  # type: ignore[arg-type]
        {},
    )
    pair.start(model)
    if timed_out:
        with pytest.raises(ModelError, match="stopped"):
            pair.take(model)
    else:
        pair.take(model)
    assert pair.session.worker is own


@pytest.mark.process
@pytest.mark.usefixtures("warm_children")
def test_what_is_prepared_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C: the thread that waits for the second worker ends, and so does the worker."""
    from onnxspace.inputs.execution import Execution
    from onnxspace.workflows.requests import DescribedModel, LocatedModel
    from onnxspace.workflows.session import ModelSession

    limits = Execution().limits
    worker = Worker("tests.sandbox.crashing_tasks", limits)
    record: Any = type("Record", (), {"sha256": "0" * 64})()
    model = DescribedModel(LocatedModel("a.onnx", "a", "a.onnx", None, {}), record, (), "k", "{}", 8, (), "")
    spare = ModelSession(worker, Path(), Execution())
    monkeypatch.setattr(spare, "perform", lambda *_, **__: worker.perform({"task": "block", "path": "a.onnx"}))
    pair = NextModel(ModelSession(Worker("none", limits), Path(), Execution()), spare, {})
    worker.start()
    pair.start(model)
    assert is_running(worker.pid)
    pair.stop()
    wait_for_end(worker.pid)
    assert pair._attempt is not None
    assert not pair._attempt.thread.is_alive()
    close_idle_workers()


@pytest.mark.parametrize(("models", "started"), [(["a.onnx", "b.fp"], [1]), (["a.fp", "b.fp"], [])])
def test_a_worker_starts_before_pictures_are_read_unless_all_are_fingerprints(
    models: list[str], started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxspace.inputs.execution import Compute, Execution
    from onnxspace.workflows import session

    counts: list[int] = []
    monkeypatch.setattr(session, "start_workers", lambda count, *_: counts.append(count))
    session.start_early(Compute("cpu", threads=2), Execution().limits, models)
    assert counts == started


@pytest.mark.process
@pytest.mark.usefixtures("warm_children")
def test_workers_that_start_early_are_those_that_are_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.sandbox import worker
    from onnxspace.sandbox.limits import Limits
    from tests.sandbox.test_worker import TASKS

    monkeypatch.setattr(worker, "_idle", {})
    limits = Limits(2**31, 20, 20)
    worker.start_workers(2, TASKS, limits)
    worker.start_workers(1, TASKS, limits)  # there are enough
    (waiting,) = worker._idle.values()
    early = {one.pid for one in waiting}
    assert len(early) == 2
    with worker.borrow_worker(TASKS, limits) as first, worker.borrow_worker(TASKS, limits) as second:
        assert {first.pid, second.pid} == early
    close_idle_workers()


@pytest.mark.parametrize(
    ("limit", "threads", "models", "expected"),
    [(4, 0, 2, True), (5, 0, 2, False), (4, 1, 2, False), (4, 2, 2, True), (4, 0, 1, False)],
)
def test_a_second_worker_needs_a_processor_and_the_memory_of_both(
    limit: int, threads: int, models: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a machine with 8 GiB and two processors; `limit` is what each worker may take, in GiB."""
    from onnxspace.inputs.execution import Compute, Execution

    monkeypatch.setattr(ahead, "count_machine_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(ahead, "count_processors", lambda: 2)
    execution = Execution.on(Compute("cpu", threads=threads), limits=f"memory={limit}G")
    assert ahead.can_look_ahead(execution, models) is expected
