"""The tasks of the module that MEASURED names; each first writes to the file LOG with how many threads its libraries compute."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info

from onnxspace.model.runtime import make_session_options

#: Variables of names that reach a worker.
MEASURED, LOG = "ONNXSPACE_MEASURED_TASKS", "ONNXSPACE_MEASURED_LOG"
Task = Callable[[Mapping[str, Any], Callable[[int], None]], Any]


def count_threads() -> dict[str, Any]:
    """The threads of Torch, of a session of ONNX Runtime, and of the libraries of products, such as OpenBLAS, OpenMP and MKL."""
    found = {one["filepath"]: one["num_threads"] for one in threadpool_info()}
    return {
        "torch": torch.get_num_threads(), "session": make_session_options(optimise=True).intra_op_num_threads,
        "libraries": sorted(found.values()), "process": os.getpid(),
    }  # fmt: skip


def measure(name: str, task: Task) -> Task:
    def measured(request: Mapping[str, Any], advance: Callable[[int], None]) -> Any:
        with Path(os.environ[LOG]).open("a") as log:
            log.write(json.dumps({"task": name, **count_threads()}) + "\n")
        return task(request, advance)

    return measured


TASKS = (
    {name: measure(name, task) for name, task in import_module(os.environ[MEASURED]).TASKS.items()}
    if MEASURED in os.environ
    else {}
)
