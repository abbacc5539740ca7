"""What the tests of `onnxspace check` share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onnxspace.checking.child.tasks import TASKS
from onnxspace.checking.sandbox import Limits
from onnxspace.errors import ModelError, OnnxspaceError
from tests.helpers.checks import network
from tests.helpers.nets import save


@pytest.fixture
def tasks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in this process; test_sandbox.py tests those in processes of their own."""

    def direct(task: str, request: Mapping[str, Any], folder: Path, limits: Limits, path: str) -> Any:
        try:
            return TASKS[task](request, folder)
        except OnnxspaceError as error:
            raise ModelError(str(error)) from error

    for module in ("run", "calibrate"):
        monkeypatch.setattr(f"onnxspace.checking.{module}.run_in_child", direct)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(network(), tmp_path / "old.onnx")
    return tmp_path
