"""Functions that are killed at one of their steps, in processes that are forked from a small one.

A fork of the tests' own process, which has imported Torch, takes longer than what most functions do until they are killed. What is
killed is called by name: a function of a module, with arguments that can be pickled.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import pytest

from tests.helpers.paths import REPOSITORY

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "sqlite3.connect"}
#: Values of modules, by their full names.
Settings = Mapping[str, object]


class Deaths:
    """What runs functions in another process, with `settings` in force there."""

    def __init__(self, server: subprocess.Popen[bytes], settings: Settings) -> None:
        self.server, self.settings = server, settings

    def rehearse(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function to its end, so that what it imports is there when it is killed: imports open files, too."""
        assert not self.die_at(0, function, *arguments)

    def die_at(self, step: int, function: Callable[..., object], *arguments: object) -> bool:
        """Run a function in a process that is killed before its `step`th file operation or SQL statement; whether it was."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        pickle.dump((step, dict(self.settings), function, arguments), self.server.stdin)
        self.server.stdin.flush()
        status = int(self.server.stdout.readline())
        assert status in (0, signal.SIGKILL), f"{function.__name__} failed at step {step}"
        return status == signal.SIGKILL


@contextmanager
def serving_deaths() -> Iterator[subprocess.Popen[bytes]]:
    """The small process, for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.helpers.deaths"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        yield server


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Carry out requests until there are no more. A rehearsal is carried out in this process."""
    while requests.peek(1):  # type: ignore[attr-defined]
        step, settings, function, arguments = pickle.load(requests)
        status = perform(0, settings, function, arguments) if step == 0 else fork(step, settings, function, arguments)
        answers.write(b"%d\n" % status)
        answers.flush()


def fork(*request: Any) -> int:
    """Carry out a request in a child. Returns its exit status as `os.waitpid` gives it."""
    child = os.fork()
    if child == 0:
        os._exit(perform(*request))
    return os.waitpid(child, 0)[1]


def perform(step: int, settings: Settings, function: Callable[..., object], arguments: tuple[object, ...]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(name, value)
        if step:
            count_down(step, patch)
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


def count_down(step: int, patch: pytest.MonkeyPatch) -> None:
    """Kill this process before its `step`th file operation or SQL statement from here on."""
    from onnxspace.spaces import catalogue

    left = step

    def tick(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    connected = catalogue._connect

    def watched(*words: str) -> object:
        connection = connected(*words)  # type: ignore[arg-type]
        connection.set_trace_callback(tick)
        return connection

    patch.setattr(catalogue, "_connect", watched)
    sys.addaudithook(lambda event, _: tick() if event in EVENTS else None)


if __name__ == "__main__":
    os.fsync = lambda number: None  # as in the tests' own process
    serve(sys.stdin.buffer, sys.stdout.buffer)
