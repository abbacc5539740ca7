"""Workers of a Dask cluster, this machine's own processes or a scheduler's, and tasks for them. Free of Torch and ONNX.

Results come as values: an error that a user can meet is handed over in words, so that a worker's log stays clean.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from onnxspace.errors import AttributionError, ClusterError, ConfigError
from onnxspace.inputs.execution import Compute
from onnxspace.workflows.cluster.reply import Refused, refusal

#: Seconds without any worker after which a run gives up; what was computed is kept as after any interruption.
PATIENCE = 300.0
_CONNECT, _FIRST_WORKER, _TICK = 20, 60, 1.0
_MOST_LOCAL = 1024
_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://\S+")
_LOCAL = re.compile(r"local:([1-9]\d{0,3})")
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")
Future = Any


class Cluster:
    """Workers that take tasks. `threads` is how many each is to use (None: as many as its own Dask threads)."""

    def __init__(self, client: Any, spec: str, threads: int | None) -> None:
        self.client, self.spec, self.threads = client, spec, threads
        self._done: SimpleQueue[Future] = SimpleQueue()
        self._open: set[Future] = set()
        self._seen = time.monotonic()

    @property
    def local(self) -> bool:
        return self.threads is not None

    def workers(self) -> int:
        """How many there are at this moment."""
        with self._explain_loss():
            return len(self.client.nthreads())

    def processors(self, compute: Compute) -> list[object]:
        """The kinds of processors of the workers that are there, each kind once: what `recipe` knows of a machine."""
        from onnxspace.workflows.cluster.worker import processors

        kinds = {repr(found): found for found in self.everywhere(processors, compute, self.threads).values()}
        return [one for _, found in sorted(kinds.items()) for one in found]

    def affinity_rows(
        self, new_files: Sequence[Path], old_files: Sequence[Path], memory: int, progress: Callable[[float], None] | None
    ) -> Any:
        """As `onnxspace.similarity.gram.affinity_rows`, by these workers."""
        from onnxspace.workflows.cluster.gram import rows_on

        return rows_on(self, new_files, old_files, memory, progress)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> Mapping[str, Any]:
        """What a function gives on every worker that is there, by address. Raises ClusterError, or what it refuses."""
        with self._explain_loss():
            found: dict[str, Any] = self.client.run(function, *arguments, on_error="return")
        for address, answer in found.items():
            if isinstance(answer, Exception):
                raise ClusterError(f"The worker {address} can't work here ({_short(answer)}): {_SAME}") from answer
        return {address: _opened(answer) for address, answer in found.items()}

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Hand out a task; `next` gives it back when it is done."""
        with self._explain_loss():
            future = self.client.submit(function, *arguments, pure=False)
        self._open.add(future)
        future.add_done_callback(self._done.put)
        return future

    def next(self) -> Future:
        """The next task that is done, well or not. Raises ClusterError where nobody is left to do any."""
        while True:
            try:
                future = self._done.get(timeout=_TICK)
            except Empty:
                self._watch()
                continue
            if future in self._open:
                self._open.discard(future)
                return future

    def result(self, future: Future, what: str) -> Any:
        """What a task gave. Raises what it raised, and AttributionError where its workers ended again and again."""
        from distributed import KilledWorker

        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            raise AttributionError(
                f"{what}: the processes that worked on it ended again and again, perhaps for want of memory. "
                "Give workers more of it, or leave this model out."
            ) from error
        if isinstance(error, ModuleNotFoundError):
            raise ClusterError(f"A worker can't work here ({_short(error)}): {_SAME}") from error
        if error is not None:
            raise error
        if future.status != "finished":
            raise ClusterError(_lost(self.spec))
        with self._explain_loss():
            return _opened(future.result())

    def forget(self, future: Future) -> None:
        """Take a task back; where it runs already, it ends by itself."""
        self._open.discard(future)
        with suppress(Exception):
            future.cancel()

    def close(self) -> None:
        for future in list(self._open):
            self.forget(future)

    def _watch(self) -> None:
        now = time.monotonic()
        if now - self._seen < 5 * _TICK:
            return
        if self.workers():
            self._seen = now
        elif now - self._seen > PATIENCE:
            raise ClusterError(f"{self.spec} has had no workers for {PATIENCE:.0f} seconds. Start some, and run this again.")

    @contextmanager
    def _explain_loss(self) -> Iterator[None]:
        """What Dask says of a lost connection, as one sentence."""
        from distributed.comm.core import CommClosedError

        try:
            yield
        except (CommClosedError, TimeoutError, ConnectionError) as error:
            if isinstance(error, ClusterError):
                raise
            raise ClusterError(_lost(self.spec)) from error


_SAME = "all machines need the same onnxspace and libraries, and `pip install 'onnxspace[cluster]'`."


def check(spec: str) -> None:
    """Refuse words that name no cluster, and a missing package, before any work. Raises ConfigError."""
    _local_workers(spec)
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigError("--cluster needs Dask: pip install 'onnxspace[cluster]'; or leave it out.") from error


@contextmanager
def connect(spec: str) -> Iterator[Cluster]:
    """The workers that `spec` names: `local:N` starts N processes and ends them, `tcp://…` finds a scheduler.

    Raises ConfigError for anything else, and where Dask is missing; ClusterError where nobody answers.
    """
    check(spec)
    with _quiet(), ExitStack() as stack:
        local = _local_workers(spec)
        where = spec if local is None else stack.enter_context(_own(local))
        cluster = Cluster(stack.enter_context(_client(where, spec)), spec, None if local is None else _share(local))
        stack.callback(cluster.close)
        yield cluster


def _local_workers(spec: str) -> int | None:
    """How many processes to start here; None where a scheduler is named. Raises ConfigError for anything else."""
    if _ADDRESS.fullmatch(spec):
        return None
    found = _LOCAL.fullmatch(spec)
    if found is None or int(found[1]) > _MOST_LOCAL:
        raise ConfigError(
            f"--cluster {spec!r} is neither local:N (N processes here, at most {_MOST_LOCAL}) nor a scheduler's address "
            "such as tcp://host:8786."
        )
    return int(found[1])


def _share(workers: int) -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // workers)


@contextmanager
def own_environment() -> Iterator[None]:
    """Environment variables as they were before: Dask sets OMP_NUM_THREADS and others here, for workers to inherit."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _own(workers: int) -> Iterator[Any]:
    """Worker processes of this one, which end with it whatever happens to it."""
    from distributed import LocalCluster

    with own_environment(), tempfile.TemporaryDirectory(prefix="onnxspace-", ignore_cleanup_errors=True) as scratch:
        try:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, memory_limit=None, dashboard_address=None,
                silence_logs=logging.CRITICAL + 1, local_directory=scratch,
                scheduler_kwargs={"local_directory": scratch},
            )  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"--cluster local:{workers} can't be started ({_short(error)}). In a script of your own, call it below "
                "`if __name__ == '__main__':`."
            ) from error
        with cluster:
            yield cluster


@contextmanager
def _client(where: Any, spec: str) -> Iterator[Any]:
    from distributed import Client

    if spec.startswith(("tls://", "wss://")):
        _check_certificate(spec)
    try:
        client = Client(where, timeout=_CONNECT, set_as_default=False)
    except Exception as error:  # whatever the transport that the address names fails with
        raise ClusterError(
            f"No Dask scheduler answers at {spec} ({_short(error)}). Start one with `dask scheduler`."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER)
        except TimeoutError as error:
            raise ClusterError(f"{spec} has no workers. Start some with `dask worker {spec}`.") from error
        yield client


def _check_certificate(spec: str) -> None:
    """A client without one would try in vain, and long."""
    from distributed.security import Security

    try:
        ready = Security().get_connection_args("client")["ssl_context"] is not None
    except (OSError, ValueError) as error:
        raise ClusterError(f"{spec} needs a certificate that can be read ({_short(error)}).") from error
    if not ready:
        raise ClusterError(
            f"{spec} needs a certificate. Name the files in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and "
            "…__TLS__CLIENT__KEY."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's logs off the terminal: what matters comes as our own errors."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _opened(answer: Any) -> Any:
    if isinstance(answer, Refused):
        raise refusal(answer)
    return answer


def _lost(spec: str) -> str:
    return f"The connection to the scheduler of {spec} was lost. Run this again: what was computed is kept with --output."


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}".rstrip(". ")
