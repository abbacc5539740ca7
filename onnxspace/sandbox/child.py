"""What a worker process runs: `python -P -m onnxspace.sandbox.child LIFELINE TASKS MEMORY CPU THREADS`.

It reads requests, a JSON object a line, and writes answers and progress, a JSON object a line. TASKS is the module whose `TASKS` has
the functions that carry requests out, by name.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, NoReturn

from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.memory import count_untouched
from onnxspace.sandbox.process import describe_shortage

#: A function that carries out a request; it may call its second argument with numbers of finished images.
Task = Callable[[Mapping[str, Any], Callable[[int], None]], Mapping[str, Any]]
#: Seconds without a request after which an idle process ends.
_IDLE = 900.0
_MOST_LINE = 2**28
#: Words in the messages of libraries that could not allocate memory.
_SHORTAGE = ("bad_alloc", "bad allocation", "out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate memory",
             "unable to allocate", "std::length_error")  # fmt: skip


def main(arguments: list[str]) -> None:
    """Say that the libraries are imported, and answer requests until standard input ends; libraries that print can't disturb that."""
    lifeline, tasks = arguments[:2]
    memory, cpu, threads = map(int, arguments[2:])
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    end_with_parent(lifeline)
    limits = Limits(memory, cpu)
    requests = _read_in_background(sys.stdin.buffer)
    table = _import_tasks(tasks)
    limit_memory(memory + count_untouched())
    if threads and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
    from onnxspace.quiet import silence_libraries

    def advance(images: int) -> None:
        limit_processor(cpu)
        write_line(answers, {"done": images})

    modules = 0
    with silence_libraries():
        write_line(answers, {"ready": True})
        while (line := _next(requests)) is not None:
            limit_processor(cpu)
            write_line(answers, {"answer": carry_out(table, json.loads(line), limits, advance)})
            modules = collect_garbage(modules)


def _import_tasks(module: str) -> Mapping[str, Task]:
    """The tasks of a module; where a library that it imports is not installed, ones that raise MissingLibraryError."""
    from onnxspace.errors import MissingLibraryError, describe_missing

    try:
        table: Mapping[str, Task] = import_module(module).TASKS
    except ModuleNotFoundError as error:
        sentence = describe_missing(error)

        def refuse(request: Mapping[str, Any], advance: Callable[[int], None]) -> Mapping[str, Any]:
            raise MissingLibraryError(sentence)

        return defaultdict(lambda: refuse)
    return table


def write_line(out: BinaryIO | Any, message: Mapping[str, Any]) -> None:
    """Write a message as one line of JSON."""
    content = memoryview(json.dumps(message, allow_nan=True).encode() + b"\n")
    while content:
        content = content[out.write(content) :]


def collect_garbage(modules: int) -> int:
    """Free what a request left, cycles included; `modules` were loaded at the last call. Returns how many are loaded now.

    Objects of libraries are left out of later calls: looking through those of Torch takes longer than opening a small model.
    """
    gc.collect()
    if len(sys.modules) > modules:
        gc.freeze()
    return len(sys.modules)


def carry_out(
    table: Mapping[str, Task], request: Mapping[str, Any], limits: Limits, advance: Callable[[int], None]
) -> Mapping[str, Any]:
    """Carry out a request; a failure is an answer with `error`, the class of the error, and `message`, a sentence."""
    from onnxspace.errors import OnnxspaceError, unexpected

    path = str(request.get("path", "the model"))
    try:
        if (folder := request.get("cwd")) is not None:
            os.chdir(folder)  # paths are as the user wrote them
        return {"result": table[request["task"]](request, advance)}
    except OnnxspaceError as error:
        message = str(error.args[-1]) if isinstance(error, OSError) and error.args else str(error)
        if _is_shortage(message) and not isinstance(error, OSError):
            return _shortage(path, limits)
        number = error.errno if isinstance(error, OSError) else None
        return {"error": type(error).__name__, "message": message, "errno": number}
    except MemoryError:
        return _shortage(path, limits)
    except Exception as error:  # a defect in a library, for one model
        if _is_shortage(str(error)):
            return _shortage(path, limits)
        return {"error": "unexpected", "message": unexpected(path, error)}


def _is_shortage(message: str) -> bool:
    return any(word in message.lower() for word in _SHORTAGE)


def _shortage(path: str, limits: Limits) -> Mapping[str, Any]:
    return {"error": "shortage", "message": describe_shortage(path, limits)}


def end_with_parent(pipe: str) -> None:
    """Have the system end this process when its parent closes the other end of a pipe, as it does when it ends.

    The signal reaches a process that is held up in a library as well. `pipe` is `DESCRIPTOR:INODE`.
    """
    number, _, inode = pipe.partition(":")
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import fcntl

        if os.fstat(lifeline := int(number)).st_ino != int(inode):
            return
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            if not os.read(lifeline, 1):  # it has ended already
                os._exit(1)


def limit_memory(memory: int) -> None:
    """Limit this process to `memory` bytes of data, where the system can."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        # Not the address space: Torch and CUDA reserve far more of it than they ever use.
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_processor(seconds: int) -> None:
    """Have the system end this process after so many further seconds of processor time, where it can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds, most))


def _read_in_background(source: BinaryIO) -> SimpleQueue[bytes]:
    """Read requests in a thread, which ends the process as soon as its parent closes the pipe, whatever it does then."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        while line := source.readline(_MOST_LINE):
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next(lines: SimpleQueue[bytes]) -> bytes | None:
    with suppress(Empty):
        return lines.get(timeout=_IDLE)
    return None


def run_and_exit(arguments: list[str]) -> NoReturn:
    """Run `main` and exit at once: Python would wait for the thread that reads requests, and abort."""
    code = 1
    try:
        main(arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    run_and_exit(sys.argv[1:])
