"""A child process for each artifact, with limits: one that is hostile or broken can neither hang nor end the check."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError, ModelError

REQUEST, ANSWER, WORDS = "request.json", "answer.json", "words.txt"
_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What one artifact may take: `memory` bytes, `cpu` and `wall` seconds. Libraries take about 1.5 GB of the memory."""

    memory: int = 8 * 2**30
    cpu: int = 1800
    wall: int = 900


def limits_from(text: str) -> Limits:
    """`memory=4G,cpu=600,wall=300`, in any order, each optional. Raises ConfigError."""
    made: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key not in ("memory", "cpu", "wall"):
            raise ConfigError(f"--limits knows memory, cpu and wall, not {key!r}: memory=4G,cpu=600,wall=300.")
        made[key] = _bytes(value) if key == "memory" else _seconds(key, value)
    return Limits(**made)


def _bytes(value: str) -> int:
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ConfigError(f"--limits memory={value} is no size; write it as 512M or 4G.")
    size = int(float(found[1]) * _SIZES[found[2].upper()])
    if size < 2**31:
        raise ConfigError(f"--limits memory={value} is less than the libraries themselves take; allow 2G or more.")
    return size


def _seconds(key: str, value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= 10**6:
        raise ConfigError(f"--limits {key}={value} is no whole number of seconds from 1 on.")
    return int(value)


def in_child(task: str, request: Mapping[str, Any], folder: Path, limits: Limits, path: str) -> Any:
    """Run a task of `onnxspace.checking.child.__main__` in a process of its own; gives its answer.

    `folder` is where it writes. Raises ModelError with the child's own sentence, or with the limit that was reached.
    """
    # -P: a file called torch.py in the current folder, which may be anyone's checkout, is not to be imported.
    (folder / REQUEST).write_text(json.dumps({"task": task, **request}), "utf-8")
    began = time.monotonic()
    with (folder / WORDS).open("wb") as words:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "onnxspace.checking.child.__main__", str(folder), str(limits.memory), str(limits.cpu)],
            stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = child.wait(limits.wall)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
    if code is None:
        raise ModelError(f"{path} was stopped after {limits.wall} seconds. Leave it out, or allow more: --limits wall=….")
    return _answer(folder, code, path, limits, time.monotonic() - began)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _answer(folder: Path, code: int, path: str, limits: Limits, seconds: float) -> Any:
    try:
        told = json.loads((folder / ANSWER).read_text("utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"{path} {_ended(code, limits, seconds)}") from None
    if "error" in told:
        raise ModelError(str(told["error"]))
    return told


def _ended(code: int, limits: Limits, seconds: float) -> str:
    size = f"{limits.memory / 2**30:.3g}G"
    if code == -getattr(signal, "SIGXCPU", 0) or seconds >= limits.cpu:
        return f"was stopped after {limits.cpu} seconds of processor time. Leave it out, or allow more: --limits cpu=…."
    if code in (-signal.SIGKILL if hasattr(signal, "SIGKILL") else 1, -signal.SIGABRT, -signal.SIGSEGV):
        return f"ended the process that read it, probably for want of memory (limit {size}). Leave it out, or allow more."
    return f"ended the process that read it (code {code}). Leave it out."
