"""Entry point of the child process: `python -m onnxspace.checking.child.__main__ FOLDER MEMORY CPU`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from onnxspace.checking.sandbox import ANSWER, REQUEST


def limit_resources(memory: int, cpu: int) -> None:
    """Limit this process to `memory` bytes of data and `cpu` seconds of processor time, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: only the parent's time limit applies
        return
    # Not the address space: Torch and CUDA reserve far more of it than they ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _out_of_memory(path: str, memory: int) -> str:
    return f"{path} needs more than {memory / 2**30:.3g}G of memory. Leave it out, or allow more with --limits memory=…."


def main(folder: Path, memory: int, cpu: int) -> None:
    """Run the task in `folder`'s request within the limits, and write its answer there, or the error's message."""
    limit_resources(memory, cpu)
    from onnxspace.checking.child.tasks import TASKS
    from onnxspace.errors import OnnxspaceError, unexpected

    request = json.loads((folder / REQUEST).read_text("utf-8"))
    path = str(request.get("path"))
    answer: dict[str, Any]
    try:
        answer = TASKS[request["task"]](request, folder)
    except OnnxspaceError as error:
        answer = {"error": str(error.args[-1] if isinstance(error, OSError) and error.args else error)}
    except MemoryError:
        answer = {"error": _out_of_memory(path, memory)}
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:300].lower()
        short = any(word in first for word in ("alloc", "memory"))
        answer = {"error": _out_of_memory(path, memory) if short else unexpected(path, error)}
    (folder / ANSWER).write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
