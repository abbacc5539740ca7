"""Tasks submitted to the connected workers of a Dask cluster. Free of Torch and ONNX.

Tasks return expected errors as values (see `reply`), so that Dask does not log them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from onnxspace.errors import AttributionError, ClusterError
from onnxspace.workflows.cluster.reply import Refusal, to_error

#: Seconds without any worker after which a run is stopped; finished work is kept as after any interruption.
PATIENCE = 300.0
_TICK = 1.0
Future = Any


class Cluster:
    """Connected workers, to which tasks are submitted.

    `client` is a `distributed.Client`, `spec` the value of `--cluster`, `threads` the number of threads each worker uses (None: its
    number of Dask threads).
    """

    def __init__(self, client: Any, spec: str, threads: int | None) -> None:
        self.client, self.spec, self.threads = client, spec, threads
        self._done: SimpleQueue[Future] = SimpleQueue()
        self._open: set[Future] = set()
        self._seen = time.monotonic()

    @property
    def local(self) -> bool:
        """Whether the workers are processes that this one started."""
        return self.threads is not None

    def workers(self) -> int:
        """Return the current number of workers. Raises ClusterError."""
        with self._explain_loss():
            return len(self.client.nthreads())

    def run_on_all(self, function: Callable[..., Any], *arguments: Any) -> Mapping[str, Any]:
        """Call a function on every current worker; returns the results by address.

        Raises ClusterError, or the OnnxspaceError that the function raised on a worker.
        """
        with self._explain_loss():
            found: dict[str, Any] = self.client.run(function, *arguments, on_error="return")
        for address, reply in found.items():
            if isinstance(reply, Exception):
                raise ClusterError(
                    f"The worker {address} can't work here ({describe_error(reply)}): {_INSTALL_SAME}"
                ) from reply
        return {address: _unwrap_reply(reply) for address, reply in found.items()}

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Submit a task; `next` returns its future when it is done. Raises ClusterError."""
        with self._explain_loss():
            future = self.client.submit(function, *arguments, pure=False)
        self._open.add(future)
        future.add_done_callback(self._done.put)
        return future

    def next(self) -> Future:
        """Wait for the next task that is finished or failed, and return its future.

        Raises ClusterError where there has been no worker for `PATIENCE` seconds.
        """
        while True:
            try:
                future = self._done.get(timeout=_TICK)
            except Empty:
                self._check_workers()
                continue
            if future in self._open:
                self._open.discard(future)
                return future

    def result(self, future: Future, what: str) -> Any:
        """Return the result of a task, which `what` names in messages.

        Raises the error that the task raised, AttributionError where its workers ended repeatedly, ClusterError where the
        connection is lost.
        """
        from distributed import KilledWorker

        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            raise AttributionError(
                f"{what}: the worker processes that computed it ended repeatedly, possibly for lack of memory. "
                "Give the workers more memory, or leave this model out."
            ) from error
        if isinstance(error, ModuleNotFoundError):
            raise ClusterError(f"A worker can't work here ({describe_error(error)}): {_INSTALL_SAME}") from error
        if error is not None:
            raise error
        if future.status != "finished":
            raise ClusterError(_describe_loss(self.spec))
        with self._explain_loss():
            return _unwrap_reply(future.result())

    def cancel(self, future: Future) -> None:
        """Cancel a task; one that is running already is left to finish."""
        self._open.discard(future)
        with suppress(Exception):
            future.cancel()

    def close(self) -> None:
        """Cancel all tasks that are not done."""
        for future in list(self._open):
            self.cancel(future)

    def _check_workers(self) -> None:
        now = time.monotonic()
        if now - self._seen < 5 * _TICK:
            return
        if self.workers():
            self._seen = now
        elif now - self._seen > PATIENCE:
            raise ClusterError(f"{self.spec} has had no workers for {PATIENCE:.0f} seconds. Start some, and run this again.")

    @contextmanager
    def _explain_loss(self) -> Iterator[None]:
        """Convert Dask's errors of a lost connection to ClusterError."""
        from distributed.comm.core import CommClosedError

        try:
            yield
        except (CommClosedError, TimeoutError, ConnectionError) as error:
            if isinstance(error, ClusterError):
                raise
            raise ClusterError(_describe_loss(self.spec)) from error


_INSTALL_SAME = "all machines need the same onnxspace and libraries, and `pip install 'onnxspace[cluster]'`."


def _unwrap_reply(reply: Any) -> Any:
    if isinstance(reply, Refusal):
        raise to_error(reply)
    return reply


def _describe_loss(spec: str) -> str:
    return f"The connection to the scheduler of {spec} was lost. Run this again: with --output, finished work is kept."


def describe_error(error: BaseException) -> str:
    """The type of an error and the first line of its message, at most 200 characters."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}".rstrip(". ")
