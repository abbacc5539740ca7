"""The client of a Dask cluster: workers started on this machine or found through a scheduler. Free of Torch and ONNX.

Tasks return expected errors as values (see `reply`), so that Dask does not log them.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from onnxspace.errors import AttributionError, ClusterError, ConfigError
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.cluster.reply import Refusal, to_error

#: Seconds without any worker after which a run is stopped; finished work is kept as after any interruption.
PATIENCE = 300.0
_CONNECT, _FIRST_WORKER, _TICK = 20, 60, 1.0
_MOST_LOCAL = 1024
_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://\S+")
_LOCAL = re.compile(r"local:([1-9]\d{0,3})")
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")
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
                    f"The worker {address} can't work here ({_describe_error(reply)}): {_INSTALL_SAME}"
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
            raise ClusterError(f"A worker can't work here ({_describe_error(error)}): {_INSTALL_SAME}") from error
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


def check_cluster(spec: str) -> None:
    """Check, before any work is done, that `spec` is a valid value of `--cluster` and that Dask is installed. Raises ConfigError."""
    _local_workers(spec)
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigError("--cluster needs Dask: pip install 'onnxspace[cluster]'; or leave it out.") from error


@contextmanager
def connect(spec: str) -> Iterator[Cluster]:
    """Connect to the workers that `spec` names: `local:N` starts N processes and ends them, `tcp://…` is a scheduler's address.

    Raises ConfigError for any other value and where Dask is missing, ClusterError where no scheduler answers or it has no workers.
    """
    check_cluster(spec)
    with _silence_dask(), ExitStack() as stack:
        local = _local_workers(spec)
        where = spec if local is None else stack.enter_context(_start_workers(local))
        cluster = Cluster(
            stack.enter_context(_connect_client(where, spec)), spec, None if local is None else _threads_per_worker(local)
        )
        stack.callback(cluster.close)
        yield cluster


def _local_workers(spec: str) -> int | None:
    """Return the number of processes to start; None for a scheduler's address. Raises ConfigError for any other value."""
    if _ADDRESS.fullmatch(spec):
        return None
    found = _LOCAL.fullmatch(spec)
    if found is None or int(found[1]) > _MOST_LOCAL:
        raise ConfigError(
            f"--cluster {spec!r} is neither local:N (N processes here, at most {_MOST_LOCAL}) nor a scheduler's address "
            "such as tcp://host:8786."
        )
    return int(found[1])


def _threads_per_worker(workers: int) -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // workers)


@contextmanager
def restore_environment() -> Iterator[None]:
    """Restore the environment variables after the block: Dask sets OMP_NUM_THREADS and others, which workers would inherit."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _start_workers(workers: int) -> Iterator[Any]:
    """Start worker processes, which end with this process however it ends."""
    from distributed import LocalCluster

    with restore_environment(), scratch_folder() as scratch:
        os.environ["PYTHONSAFEPATH"] = "1"  # workers must not import a file such as torch.py from the current folder
        try:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, memory_limit=None, dashboard_address=None,
                silence_logs=logging.CRITICAL + 1, local_directory=str(scratch),
                scheduler_kwargs={"local_directory": str(scratch)},
            )  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"--cluster local:{workers} can't be started ({_describe_error(error)}). In your own script, call it under "
                "`if __name__ == '__main__':`."
            ) from error
        with cluster:
            yield cluster


@contextmanager
def _connect_client(where: Any, spec: str) -> Iterator[Any]:
    from distributed import Client

    if spec.startswith(("tls://", "wss://")):
        _check_certificate(spec)
    try:
        client = Client(where, timeout=_CONNECT, set_as_default=False)
    except Exception as error:  # transports raise errors of many types
        raise ClusterError(
            f"No Dask scheduler answers at {spec} ({_describe_error(error)}). Start one with `dask scheduler`."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER)
        except TimeoutError as error:
            raise ClusterError(f"{spec} has no workers. Start some with `dask worker {spec}`.") from error
        yield client


def _check_certificate(spec: str) -> None:
    """Check that Dask is configured with a TLS certificate: without one, connecting fails only after a long time."""
    from distributed.security import Security

    try:
        ready = Security().get_connection_args("client")["ssl_context"] is not None
    except (OSError, ValueError) as error:
        raise ClusterError(f"{spec} needs a certificate that can be read ({_describe_error(error)}).") from error
    if not ready:
        raise ClusterError(
            f"{spec} needs a certificate. Name the files in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and "
            "…__TLS__CLIENT__KEY."
        )


@contextmanager
def _silence_dask() -> Iterator[None]:
    """Keep Dask's logs off the terminal: what concerns the user is raised as an error."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _unwrap_reply(reply: Any) -> Any:
    if isinstance(reply, Refusal):
        raise to_error(reply)
    return reply


def _describe_loss(spec: str) -> str:
    return f"The connection to the scheduler of {spec} was lost. Run this again: with --output, finished work is kept."


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}".rstrip(". ")
