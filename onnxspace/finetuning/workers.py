"""Worker processes that train: a crash or a hang ends one job, and takes nothing else with it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxspace.errors import OnnxspaceError
from onnxspace.sandbox import worker as sandbox
from onnxspace.sandbox.limits import Limits, machine_limits, parse_limits

#: Seconds after which a job is stopped, unless the limits or a budget stop it earlier.
LIMIT = 3600
TASKS = "onnxspace.finetuning.jobs"
_LEAST_MEMORY = 2**32


def training_limits(given: Limits | str | None, workers: int, threads: int = 1) -> Limits:
    """The limits of each of `workers` processes that train, which share this machine's memory unless `given` states another.

    Raises ConfigError.
    """
    if isinstance(given, Limits):
        return given
    memory = max(_LEAST_MEMORY, machine_limits().memory // workers)
    default = Limits(min(memory, machine_limits().memory), LIMIT * (threads + 1), LIMIT)
    return default if given is None else parse_limits(given, default)


class Worker:
    """One process, started at its first job and again after it has died."""

    def __init__(self, threads: int = 1, limits: Limits | None = None) -> None:
        self.seen: set[str] = set()
        limits = limits or training_limits(None, 1, threads)
        self._worker = sandbox.Worker(TASKS, limits, threads, {"OMP_NUM_THREADS": str(threads)})

    @property
    def pid(self) -> int:
        """The number of the process that was started last."""
        return self._worker.pid

    def perform(self, request: Mapping[str, Any], limit: float | None = None) -> dict[str, Any]:
        """Send a request and return the answer, `{"error": …}` where the process died or took more than `limit` seconds."""
        try:
            answer = self._worker.perform({"path": _path_of(request), **request}, wall=limit)
        except OnnxspaceError as error:
            return {"error": str(error.args[-1] if error.args else error)}
        return answer if isinstance(answer, dict) else {"error": f"{_path_of(request)} has no answer. Leave it out."}

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def _path_of(request: Mapping[str, Any]) -> str:
    model = request.get("model") or request.get("run", {}).get("model", {})
    return str(model.get("path", "the model"))


class WorkerPool:
    """Several workers that take requests as they become free; a context manager that ends them."""

    def __init__(self, count: int, threads: int = 1, limits: Limits | str | None = None) -> None:
        allowed = training_limits(limits, count, threads)
        self.workers = [Worker(threads, allowed) for _ in range(count)]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self.workers:
            worker.close()

    def perform_all(self, requests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Perform all requests; yields the position of each, and its answer, as they finish.

        A worker prefers models that it has had before, since it keeps them converted, and then those that no other has had.
        """
        waiting, lock = list(range(len(requests))), threading.Lock()
        done: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()

        def drain(worker: Worker) -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    index = self._choose(worker, requests, waiting)
                    waiting.remove(index)
                done.put((index, worker.perform(requests[index])))

        for worker in self.workers[: len(requests)]:
            threading.Thread(target=drain, args=(worker,), daemon=True).start()
        for _ in requests:
            yield done.get()

    def _choose(self, worker: Worker, requests: Sequence[Mapping[str, Any]], waiting: Sequence[int]) -> int:
        elsewhere = {path for other in self.workers if other is not worker for path in other.seen}
        ranks = {i: (_path_of(requests[i]) not in worker.seen, _path_of(requests[i]) in elsewhere) for i in waiting}
        chosen = min(waiting, key=ranks.__getitem__)
        worker.seen.add(_path_of(requests[chosen]))
        return chosen
