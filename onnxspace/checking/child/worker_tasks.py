"""The tasks of `tasks` as a worker process carries them out (see `onnxspace.sandbox.child`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxspace.checking.child import tasks


def _carry_out(request: Mapping[str, Any], _advance: Callable[[int], None]) -> Mapping[str, Any]:
    return tasks.TASKS[request["task"]](request, Path(request["folder"]))


TASKS: Mapping[str, Callable[[Mapping[str, Any], Callable[[int], None]], Mapping[str, Any]]] = dict.fromkeys(
    tasks.TASKS, _carry_out
)
