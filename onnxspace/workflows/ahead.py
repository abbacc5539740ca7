"""One model ahead: a second worker opens, converts and verifies the model of the next turn while the first explains one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.sandbox.limits import count_machine_memory
from onnxspace.sandbox.processors import count_processors
from onnxspace.workflows.requests import DescribedModel, encode_execution
from onnxspace.workflows.session import ModelSession, open_session

#: Seconds between two attempts to end a worker.
_PAUSE = 0.05


@dataclass
class _Attempt:
    """A model that a worker prepares in a thread of its own; `error` is raised at the model's turn."""

    model: DescribedModel
    thread: threading.Thread
    ready: bool = False
    error: OnnxspaceError | None = None


@dataclass
class NextModel:
    """The worker of a session, and a spare one that prepares the next model; when its turn has come, they change places.

    What is computed, and in which order it is entered, does not depend on it. `request` has setup and execution in JSON.
    """

    session: ModelSession
    spare: ModelSession
    request: Mapping[str, Any]
    _attempt: _Attempt | None = None
    _seen: set[str] = field(default_factory=set)

    def start(self, model: DescribedModel) -> None:
        """Begin to prepare a model, unless one with the same maps had its turn."""
        if self._attempt is None and model.key not in self._seen:
            thread = threading.Thread(target=self._prepare, daemon=True)
            self._attempt = _Attempt(model, thread)
            thread.start()

    def _prepare(self) -> None:
        attempt = self._attempt
        assert attempt is not None
        more = {"sha256": attempt.model.record.sha256, **self.request}
        try:
            found = self.spare.perform("ready", attempt.model.located, **more)
            attempt.ready = isinstance(found, dict) and found.get("ready") is True
        except OnnxspaceError as error:
            # A failure is repeated at its turn, where it is reported in order, and a worker that died has the memory for itself;
            # only what took all its time is not tried again.
            attempt.error = error if self.spare.worker.timed_out else None
        except Exception:  # such as too little memory for a thread or a process: nothing is prepared
            attempt.ready = False

    def take(self, model: DescribedModel) -> None:
        """Have the session continue with the worker that has prepared this model, if one has. Raises ModelError."""
        attempt = self._attempt
        self._seen.add(model.key)
        if attempt is None or attempt.model is not model:
            return
        attempt.thread.join()
        self._attempt = None
        if attempt.error is not None:
            raise attempt.error
        if attempt.ready:
            self.session.worker, self.spare.worker = self.spare.worker, self.session.worker

    def stop(self) -> None:
        """End what is not finished."""
        if self._attempt is None or not self._attempt.thread.is_alive():
            return
        while self._attempt.thread.is_alive():  # it may be just about to start a process
            self.spare.worker.close()
            self._attempt.thread.join(_PAUSE)
        self.spare.worker.close()


def can_look_ahead(execution: Execution, models: int) -> bool:
    """Whether a second worker helps in a run over so many models, and is allowed.

    They are explained here, are several, and so are the processors and the threads; both workers may take the memory of the limits.
    """
    if execution.cluster is not None or execution.compute.threads == 1:
        return False
    return models > 1 and count_processors() > 1 and 2 * execution.limits.memory <= count_machine_memory()


@contextmanager
def open_ahead(session: ModelSession, execution: Execution, setup: Setup, models: int) -> Iterator[NextModel | None]:
    """Open a spare worker for a run over so many `models` on this machine; None where it can't help.

    That is where `can_look_ahead` says so, or the session's worker is no process.
    """
    if not can_look_ahead(execution, models) or not session.worker.pid:
        yield None
        return
    with open_session(execution) as spare:
        request = {"setup": session.place(setup), "execution": encode_execution(execution)}
        found = NextModel(session, replace(spare, folder=session.folder), request)
        try:
            yield found
        finally:
            found.stop()
