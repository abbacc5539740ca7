"""In the place of worker processes: their tasks in the tests' own process, with requests and answers as JSON all the same.

A process for every test would import Torch each time, and a test could not watch what is computed. `tests/sandbox` tests the processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.sandbox.child import carry_out
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.worker import take_result


class DirectWorker:
    """Carries requests out at once; `dead` as a worker that has no process."""

    dead, pid = True, 0

    def __init__(self, tasks: str, limits: Limits) -> None:
        self.tasks, self.limits = import_module(tasks).TASKS, limits

    def perform(
        self, request: Mapping[str, Any], advance: Callable[[int], None] | None = None, wall: float | None = None
    ) -> Any:
        from tests.helpers.shared_conversions import sharing_conversions  # which imports Torch, as the tasks do

        with sharing_conversions():
            answer = carry_out(self.tasks, json.loads(json.dumps(request)), self.limits, advance or (lambda images: None))
        return take_result(json.loads(json.dumps(answer)))


@contextmanager
def borrow_direct(tasks: str, limits: Limits, threads: int = 0) -> Iterator[DirectWorker]:
    """In the place of `onnxspace.sandbox.worker.borrow_worker`."""
    yield DirectWorker(tasks, limits)


def check_directly(task: str, request: Mapping[str, Any], folder: Path, limits: Limits, path: str) -> Any:
    """In the place of `onnxspace.checking.sandbox.run_in_child`."""
    from onnxspace.checking.child.tasks import TASKS
    from tests.helpers.shared_conversions import sharing_conversions

    try:
        with sharing_conversions():
            return TASKS[task](json.loads(json.dumps(request)), folder)
    except OnnxspaceError as error:
        raise ModelError(str(error)) from error
