"""Run tasks in child processes with limits, so that a hostile or broken artifact can neither hang nor crash the check."""

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
    """Limits of one artifact's process: `memory` in bytes (libraries alone take about 1.5 GB), `cpu` and `wall` in seconds."""

    memory: int = 8 * 2**30
    cpu: int = 1800
    wall: int = 900


def parse_limits(text: str) -> Limits:
    """Parse limits such as `memory=4G,cpu=600,wall=300`, in any order, each optional. Raises ConfigError."""
    made: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key not in ("memory", "cpu", "wall"):
            raise ConfigError(f"--limits takes memory, cpu and wall, not {key!r}; write memory=4G,cpu=600,wall=300.")
        made[key] = _parse_bytes(value) if key == "memory" else _parse_seconds(key, value)
    return Limits(**made)


def _parse_bytes(value: str) -> int:
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ConfigError(f"--limits memory={value} is not a size; write it as 512M or 4G.")
    size = int(float(found[1]) * _SIZES[found[2].upper()])
    if size < 2**31:
        raise ConfigError(f"--limits memory={value} is less than the libraries need; allow 2G or more.")
    return size


def _parse_seconds(key: str, value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= 10**6:
        raise ConfigError(f"--limits {key}={value} is not a number of seconds; give a whole number of at least 1.")
    return int(value)


def run_in_child(task: str, request: Mapping[str, Any], folder: Path, limits: Limits, path: str) -> Any:
    """Run a task of `onnxspace.checking.child.tasks` in a process of its own, and return its answer.

    `request` is sent to it as JSON; `folder` is where it writes; `path` names the artifact in errors. Raises ModelError with the
    child's message, or with the limit that was reached.
    """
    # -P: must not import a file such as torch.py from the current folder, which may be an untrusted checkout.
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
            _kill(child)
    if code is None:
        raise ModelError(f"{path} was stopped after {limits.wall} seconds. Leave it out, or allow more with --limits wall=….")
    return _read_answer(folder, code, path, limits, time.monotonic() - began)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()


def _read_answer(folder: Path, code: int, path: str, limits: Limits, seconds: float) -> Any:
    try:
        answer = json.loads((folder / ANSWER).read_text("utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"{path} {_describe_end(code, limits, seconds)}") from None
    if "error" in answer:
        raise ModelError(str(answer["error"]))
    return answer


def _describe_end(code: int, limits: Limits, seconds: float) -> str:
    size = f"{limits.memory / 2**30:.3g}G"
    if code == -getattr(signal, "SIGXCPU", 0) or seconds >= limits.cpu:
        return f"was stopped after {limits.cpu} seconds of processor time. Leave it out, or allow more with --limits cpu=…."
    if code in (-signal.SIGKILL if hasattr(signal, "SIGKILL") else 1, -signal.SIGABRT, -signal.SIGSEGV):
        return f"crashed the process that read it, probably out of memory (limit {size}). Leave it out, or allow more."
    return f"crashed the process that read it (code {code}). Leave it out."
