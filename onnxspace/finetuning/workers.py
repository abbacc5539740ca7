"""Worker processes that train: a crash or a hang ends one job, and takes nothing else with it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

#: Seconds after which a job is stopped, unless a budget stops it earlier.
LIMIT = 3600.0
_DIED = "ended the process that opened or trained it, probably for lack of memory. Leave it out."


class Worker:
    """One process, started at its first job and again after it has died."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.seen: set[str] = set()
        self._process: subprocess.Popen[str] | None = None

    def perform(self, request: Mapping[str, Any], limit: float = LIMIT) -> dict[str, Any]:
        """Send a request and return the answer, `{"error": …}` where the process died or took more than `limit` seconds."""
        process = self._process or self._start()
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            line = _exchange(process, json.dumps(request))
        finally:
            stopped = timer.finished.is_set()
            timer.cancel()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.close()
        return {"error": f"{_path_of(request)} {f'took more than {limit:.0f} seconds. Leave it out.' if stopped else _DIED}"}

    def _start(self) -> subprocess.Popen[str]:
        # -P: must not import a file such as torch.py from the current folder, which may be an untrusted checkout.
        command = [sys.executable, "-P", "-m", "onnxspace.finetuning.child", str(self.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _exchange(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):  # it died: an empty answer says so
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return process.stdout.readline()


def _path_of(request: Mapping[str, Any]) -> str:
    model = request.get("model") or request.get("run", {}).get("model", {})
    return str(model.get("path", "the model"))


class WorkerPool:
    """Several workers that take requests as they become free; a context manager that ends them."""

    def __init__(self, count: int, threads: int = 1) -> None:
        self.workers = [Worker(threads) for _ in range(count)]

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


def available_cores() -> int:
    """Number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
