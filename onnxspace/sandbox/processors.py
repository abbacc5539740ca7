"""How many processors this process may use, and the environment in which a worker's libraries use them on a busy machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

#: How threads wait for each other, of GNU's and of LLVM's OpenMP: they spin for a fraction of a millisecond, and for one.
_WAITING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
#: Variables by which a user decides that.
_STATED = ("OMP_WAIT_POLICY", *_WAITING)
_THREADS = "OMP_NUM_THREADS"
#: Variables that libraries of products obey rather than that one.
_OWN_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_GROUPS, _OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def count_processors() -> int:
    """Return the number of processors that this process may use: those of its affinity, or as many as its container may keep busy.

    A container's quota of 1.5 processors counts as 2.
    """
    allowed = _count_affine()
    quota = find_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


#: The most threads that compute in this process, where that is stated (0: it is not).
_most_threads: ContextVar[int] = ContextVar("most_threads", default=0)


@contextmanager
def limit_threads(most: int) -> Iterator[None]:
    """Have `count_threads` return no more than `most` in the block (0: as many as there are processors)."""
    before = _most_threads.set(most)
    try:
        yield
    finally:
        _most_threads.reset(before)


def count_threads() -> int:
    """Return how many threads may compute in this process: one per processor, or as many as `limit_threads` allows."""
    return min(count_processors(), _most_threads.get() or count_processors())


def _count_affine() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_quota(groups: Path = _GROUPS, own: Path = _OWN_GROUP) -> float | None:
    """Return how many processors the control groups of this process may keep busy, None for any number.

    `groups` is where control groups are mounted (version 2, or 1), `own` the file that names those of this process. The smallest
    quota of a group and those above it holds.
    """
    return min(_list_quotas(groups, own), default=None)


def _list_quotas(groups: Path, own: Path) -> Iterator[float]:
    for folder in list_groups(groups, own, "cpu", "cpu,cpuacct"):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text("ascii").split()
            yield int(quota) / int(period)  # "max" is no number
        with suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period"))
            if int(quota) > 0:  # -1 is none
                yield int(quota) / int(period)


def list_groups(groups: Path, own: Path, *controllers: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process: its own and all above, of either version.

    `groups` and `own` are as in `find_quota`; `controllers` are names of the folder in which version 1 has the groups of interest.
    """
    yield from (groups, *(groups / name for name in controllers))
    with suppress(OSError, ValueError):
        for line in own.read_text("utf-8").splitlines():
            _, named, path = line.split(":", 2)
            inner = [part for part in path.split("/") if part not in ("", ".", "..")]
            for root in (groups / named,) if named else (groups, groups / "unified"):
                yield from (root.joinpath(*inner[:count]) for count in range(1, len(inner) + 1))


def thread_environment(environment: Mapping[str, str], threads: int = 0) -> dict[str, str]:
    """Return the variables to add to a worker's `environment`, in which what the user states there is kept.

    Threads that have nothing to do spin for a moment and then sleep: where other processes keep the processors busy, a thread that
    spins takes its processor from the one it waits for. `threads` is the number of threads (0: as many as the libraries start by
    themselves, but no more than a container's quota); one that is stated holds for each library, whatever the environment says.
    """
    waiting = {} if any(name in environment for name in _STATED) else _WAITING
    count = count_processors() if count_processors() < _count_affine() else 0
    if threads:
        return waiting | dict.fromkeys((_THREADS, *_OWN_THREADS), str(threads))
    return waiting | ({_THREADS: str(count)} if count and _THREADS not in environment else {})
