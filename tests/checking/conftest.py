"""What the tests of `onnxspace check` share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onnxspace.checking.child.tasks import TASKS
from onnxspace.checking.sandbox import Limits
from onnxspace.errors import ModelError, OnnxspaceError
from tests.helpers.checks import network
from tests.helpers.nets import save
from tests.helpers.shared_conversions import sharing_conversions


def run_here(task: str, request: Mapping[str, Any], folder: Path, limits: Limits, path: str) -> Any:
    """Run a task in this process, in the place of `onnxspace.checking.sandbox.run_in_child`."""
    try:
        with sharing_conversions():
            return TASKS[task](json.loads(json.dumps(request)), folder)
    except OnnxspaceError as error:
        raise ModelError(str(error)) from error


@pytest.fixture
def tasks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in this process; test_sandbox.py tests those in processes of their own."""
    monkeypatch.setattr("onnxspace.checking.observe.run_in_child", run_here)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(network(), tmp_path / "old.onnx")
    return tmp_path
