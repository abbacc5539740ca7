"""The client of a Dask cluster: workers started on this machine or found through a scheduler. Free of Torch and ONNX."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from onnxspace.errors import ClusterError, ConfigError
from onnxspace.sandbox.processors import count_processors
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.cluster.submission import Cluster, describe_error

_CONNECT, _FIRST_WORKER = 20, 60
_MOST_LOCAL = 1024
_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://\S+")
_LOCAL = re.compile(r"local:([1-9]\d{0,3})")
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")


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
    return max(1, count_processors() // workers)


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
                f"--cluster local:{workers} can't be started ({describe_error(error)}). In your own script, call it under "
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
            f"No Dask scheduler answers at {spec} ({describe_error(error)}). Start one with `dask scheduler`."
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
        raise ClusterError(f"{spec} needs a certificate that can be read ({describe_error(error)}).") from error
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
