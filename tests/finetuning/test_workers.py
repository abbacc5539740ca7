"""Worker processes: answers, failures of models, a process that dies, and one that takes too long."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from pathlib import Path

import pytest

from onnxspace.finetuning.jobs import ModelFile
from onnxspace.finetuning.workers import Worker, WorkerPool
from onnxspace.inputs.config import ModelOptions
from tests.helpers.nets import classifier, save

pytestmark = pytest.mark.process


def _request(path: Path) -> dict[str, object]:
    return {"task": "describe", "model": asdict(ModelFile.describe(path, None, ModelOptions()))}


def test_all_requests_are_answered(tmp_path: Path, warm_children: None) -> None:
    good = [save(classifier(seed=i), tmp_path / f"{i}.onnx") for i in range(3)]
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with WorkerPool(2) as pool:
        answers = dict(pool.perform_all([_request(path) for path in (*good, bad)]))
        assert [answers[i]["height"] for i in range(3)] == [16] * 3
        assert str(bad) in answers[3]["error"]
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        again = dict(pool.perform_all([_request(path) for path in good]))
        assert sum("error" in answer for answer in again.values()) <= 1
        assert all("height" in answer for answer in dict(pool.perform_all([_request(path) for path in good])).values())


def test_a_slow_job_is_stopped(tmp_path: Path, warm_children: None) -> None:
    worker = Worker()
    path = save(classifier(), tmp_path / "net.onnx")
    try:
        assert "was stopped after 0 seconds" in worker.perform(_request(path), limit=1e-6)["error"]
        assert "height" in worker.perform(_request(path))
    finally:
        worker.close()
