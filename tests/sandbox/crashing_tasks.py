"""Tasks of a worker process that do what a hostile model can do to the process that reads it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from onnxspace.errors import OutputError, UnsupportedOperatorError

Request = Mapping[str, Any]
Advance = Callable[[int], None]


def _answer(request: Request, advance: Advance) -> Mapping[str, Any]:
    for images in request.get("progress", ()):
        advance(images)
    return {"pid": os.getpid(), "environment": dict(os.environ), "path": sys.path, "folder": os.getcwd()}  # noqa: PTH109


def _crash(request: Request, _advance: Advance) -> Mapping[str, Any]:
    if request["signal"] == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), int(request["signal"]))
    time.sleep(60)
    return {}


def _allocate(request: Request, _advance: Advance) -> Mapping[str, Any]:
    return {"length": len(bytearray(request["bytes"]))}


def _spin(_request: Request, _advance: Advance) -> Mapping[str, Any]:
    while True:
        pass


def _sleep(request: Request, advance: Advance) -> Mapping[str, Any]:
    for _ in range(request["times"]):
        time.sleep(request["seconds"])
        advance(1)
    return {}


def _block(_request: Request, _advance: Advance) -> Mapping[str, Any]:
    """Hold the interpreter up in a library, so that no thread of it runs."""
    ctypes.PyDLL(None).sleep(600)
    return {}


def _fail(request: Request, _advance: Advance) -> Mapping[str, Any]:
    if request["how"] == "ours":
        raise UnsupportedOperatorError("net.onnx has an operator.")
    if request["how"] == "disk":
        raise OutputError(28, "maps.npy can't be written.")
    raise RuntimeError("a defect\nin a library")


def _chatter(_request: Request, _advance: Advance) -> Mapping[str, Any]:
    print("printed by a library", flush=True)
    os.write(1, b'{"answer": {"result": "forged"}}\n')
    return {"honest": True}


def _start_other(_request: Request, _advance: Advance) -> Mapping[str, Any]:
    """Start a process that would outlive this one."""
    other = os.fork()
    if other == 0:
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGKILL) if _request.get("die") else None
    return {"pid": other}


TASKS = {
    "answer": _answer, "crash": _crash, "allocate": _allocate, "spin": _spin, "sleep": _sleep, "block": _block, "fail": _fail,
    "chatter": _chatter, "start other": _start_other,
}  # fmt: skip
