"""Run the tasks of a check in worker processes with limits, one for each, so that no artifact can touch what is measured of another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.sandbox.limits import Limits as Limits
from onnxspace.sandbox.limits import parse_limits as parse_limits
from onnxspace.sandbox.worker import Worker

TASKS = "onnxspace.checking.child.worker_tasks"


def run_in_child(task: str, request: Mapping[str, Any], folder: Path, limits: Limits, path: str) -> Any:
    """Run a task of `onnxspace.checking.child.tasks` in a process of its own, and return its answer.

    `request` is sent to it as JSON, and states the number of its `threads` (0: its default); `folder` is where it writes; `path` names the artifact in errors. Raises ModelError with
    the child's message, or with the limit that was reached.
    """
    with closing(Worker(TASKS, limits, request.get("threads", 0))) as worker:
        try:
            return worker.perform({**request, "task": task, "folder": str(folder.absolute()), "path": path})
        except ModelError:
            raise
        except OnnxspaceError as error:
            raise ModelError(str(error)) from error
