"""Workers: processes that carry out requests one after the other, and are replaced after one of them dies."""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from onnxspace import errors
from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.process import (
    Process,
    clean_environment,
    describe_end,
    describe_failed_start,
    describe_slow_start,
    describe_timeout,
    is_out_of_time,
    start_process,
)
from onnxspace.sandbox.processors import thread_environment

_MOST_ANSWER = 2**28  # bytes of a line that a worker may send
#: Seconds within which a process must have imported its libraries: two on an idle machine, ten times as long beside ten others.
START_SECONDS = 300.0
Advance = Callable[[int], None]


class Worker:
    """One process, started at its first request or by `start`, and again after it has died.

    `tasks` is the module of the tasks that it can carry out; `limits` hold for each step of a request: its time starts anew with
    each report of finished images, and does not run while the process starts. `threads` is the number of threads that Torch computes with (0: its default), `environment` has
    variables besides those that are passed on.
    """

    def __init__(self, tasks: str, limits: Limits, threads: int = 0, environment: Mapping[str, str] | None = None) -> None:
        self.tasks, self.limits, self.threads, self.environment = tasks, limits, threads, environment or {}
        self.pid = 0  # of the process that was started last
        self.timed_out = False  # whether the last request was stopped since it took all its time
        self._process: Process | None = None
        self._ready = False  # whether the process has imported its libraries

    @property
    def dead(self) -> bool:
        """Whether no process runs."""
        return self._process is None

    def start(self) -> None:
        """Start the process, unless it runs: it imports its libraries while this one does something else."""
        if self._process is None:
            memory, cpu = str(self.limits.memory), str(self.limits.cpu)
            environment = {**clean_environment(os.environ), **self.environment}
            environment |= thread_environment(environment, self.threads)
            self._process = start_process([self.tasks, memory, cpu, str(self.threads)], environment)
            self.pid, self._ready = self._process.pid, False

    def perform(self, request: Mapping[str, Any], advance: Advance | None = None, wall: float | None = None) -> Any:
        """Have a request carried out and return its result, JSON of the worker, which is untrusted.

        `request` has the name of a `task`, and as `path` the file to name in sentences; `advance` is called with numbers of finished
        images; `wall` are the seconds that it may take (None: those of the limits). Raises the OnnxspaceError that the task raised,
        and ModelError where the process died or was stopped.
        """
        self._revive()
        self.timed_out = finished = False
        try:
            self._wait_for_start(str(request.get("path", "the model")))
            answer = self._exchange(request, advance or (lambda images: None), wall)
            finished = True
        finally:
            if not finished:  # a death, Ctrl-C, or an error of `advance`
                self.close()
        if answer.get("error") == "shortage":  # what is left of its memory is in pieces
            self.close()
        return take_result(answer)

    def _revive(self) -> None:
        """Start the process; one that has died since its last answer, as an idle one does, is replaced."""
        if self._process is not None and self._process.popen.poll() is not None:
            self.close()
        self.start()

    def _wait_for_start(self, path: str) -> None:
        """Wait until the process has imported its libraries, which is not counted as time of a model. Raises ModelError."""
        process = self._process
        assert process is not None
        if self._ready:
            return
        with Alarm(START_SECONDS, process.kill) as alarm:
            self._ready = any(message.get("ready") is True for message in receive_messages(process))
        if not self._ready:
            process.wait_for_end()
            code = self.close()
            raise ModelError(describe_slow_start(path, START_SECONDS) if alarm.rang else describe_failed_start(path, code))

    def _exchange(self, request: Mapping[str, Any], advance: Advance, wall: float | None) -> Mapping[str, Any]:
        process = self._process
        assert process is not None
        seconds, path = self.limits.wall if wall is None else wall, str(request.get("path", "the model"))
        with Alarm(seconds, process.kill) as alarm:
            send_message(process, {"cwd": _current_folder(), **request})
            for message in receive_messages(process):
                if type(done := message.get("done")) is int:
                    alarm.restart()
                    advance(done)
                elif isinstance(answer := message.get("answer"), dict):
                    return answer
        process.wait_for_end()
        code = self.close()
        self.timed_out = alarm.rang or is_out_of_time(code)
        raise ModelError(describe_timeout(path, seconds) if alarm.rang else describe_end(path, code, self.limits))

    def close(self) -> int:
        """End the process; returns its exit code, or minus the signal that ended it."""
        process, self._process = self._process, None
        return 0 if process is None else process.end()


class Alarm:
    """Calls a function in another thread after `seconds` without a restart, once, unless the block has ended before."""

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self.rang = False
        self._seconds, self._ring = seconds, ring
        self._changed = threading.Condition()
        self._due: float | None = time.monotonic() + seconds

    def restart(self) -> None:
        """Let the time begin anew."""
        with self._changed:
            self._due = time.monotonic() + self._seconds

    def __enter__(self) -> Alarm:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._changed:
            self._due = None
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while self._due is not None:
                left = self._due - time.monotonic()
                if left <= 0:
                    self.rang, self._due = True, None
                    self._ring()
                else:
                    self._changed.wait(left)


def _current_folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return None


def send_message(process: Process, request: Mapping[str, Any]) -> None:
    """Send a process one line of JSON."""
    stream = process.popen.stdin
    assert stream is not None
    with suppress(OSError):  # it died: the missing answer says so
        stream.write(json.dumps(request).encode() + b"\n")
        stream.flush()


def receive_messages(process: Process) -> Iterator[Mapping[str, Any]]:
    """The messages of a process until it ends; it may be compromised, so what is no message is ignored."""
    stream = process.popen.stdout
    assert stream is not None
    while line := stream.readline(_MOST_ANSWER):
        with suppress(ValueError, RecursionError):
            if isinstance(found := json.loads(line), dict):
                yield found


def take_result(answer: Mapping[str, Any]) -> Any:
    """The result of an answer as `carry_out` gives it. Raises the OnnxspaceError of a failure."""
    if "error" not in answer:
        return answer.get("result")
    kind = getattr(errors, str(answer["error"]), ModelError)
    known = isinstance(kind, type) and issubclass(kind, OnnxspaceError)
    made: type[OnnxspaceError] = kind if known else ModelError
    number, message = answer.get("errno"), str(answer.get("message", ""))
    raise made(number, message) if issubclass(made, OSError) and isinstance(number, int) else made(message)


_idle: dict[tuple[int, str, Limits, int, str], list[Worker]] = {}
_lock = threading.Lock()


def start_workers(count: int, tasks: str, limits: Limits, threads: int = 0) -> None:
    """Have so many idle workers, whose processes import their libraries while this one does something else.

    Arguments are those of `borrow_worker`, which takes them.
    """
    with _lock:
        waiting = _idle.setdefault((os.getpid(), tasks, limits, threads, sys.executable), [])
        waiting += [Worker(tasks, limits, threads) for _ in range(count - len(waiting))]
        for worker in waiting[-count:]:
            worker._revive()


@contextmanager
def borrow_worker(tasks: str, limits: Limits, threads: int = 0) -> Iterator[Worker]:
    """Borrow a worker for the block: an idle one of this process if there is one, since importing Torch takes seconds.

    The process is starting when the block begins. It is ended if the block raises anything but an OnnxspaceError; otherwise it
    waits for the next block, and ends with this process.
    """
    key = os.getpid(), tasks, limits, threads, sys.executable
    with _lock:
        waiting = _idle.setdefault(key, [])
        worker = waiting.pop() if waiting else Worker(tasks, limits, threads)
    try:
        worker._revive()
        yield worker
    except OnnxspaceError:
        raise
    except BaseException:
        worker.close()
        raise
    finally:
        with _lock:
            waiting.append(worker)


@atexit.register
def close_idle_workers() -> None:
    """End all workers of this process that nobody uses."""
    with _lock:
        for (process, *_), workers in _idle.items():
            for worker in workers if process == os.getpid() else ():
                worker.close()
        _idle.clear()
