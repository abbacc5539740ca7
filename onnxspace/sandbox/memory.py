"""How much memory this process may still take: its limit, its container's and the machine's; and how it gives back what it does not use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxspace.sandbox.limits import machine_limits
from onnxspace.sandbox.processors import list_groups

_GROUPS, _PROCESS, _MACHINE = Path("/sys/fs/cgroup"), Path("/proc/self"), Path("/proc/meminfo")
#: Names of the files of a control group that say what it may take and what it takes, by version.
_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
#: Bytes that are left free for threads and small objects.
_RESERVED = 2**26
#: Parameters of GNU's C library: the size from which blocks are given back when they are freed, and the free memory at its end that is.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
#: Sizes for `keep_blocks`: where memory is plentiful, which is the library's own upper bound, and where it is not.
LARGE_BLOCKS, SMALL_BLOCKS = 2**25, 2**20


def count_free_memory(groups: Path = _GROUPS, process: Path = _PROCESS, machine: Path = _MACHINE) -> int:
    """Return how many bytes this process may still take, at least 0.

    That is the least of what its own limit leaves (that of a worker, or else half of the machine's memory), what its control groups
    leave, and what is free on the machine. The arguments are where the system tells it.
    """
    left = [_count_own(_read_sizes(process / "status")), *_list_groups_left(groups, process / "cgroup")]
    if (free := _read_sizes(machine).get("MemAvailable")) is not None:
        left.append(free)
    return max(0, min(left) - _RESERVED)


def _count_own(sizes: Mapping[str, int]) -> int:
    """What the limit of this process leaves: of data, touched or not, where a worker has one; or else of what it has touched."""
    limit = _find_limit()
    return machine_limits().memory - sizes.get("VmRSS", 0) if limit is None else limit - sizes.get("VmData", 0)


def count_untouched(process: Path = _PROCESS) -> int:
    """Return how many bytes of data this process has reserved and never touched, such as parts of libraries and stacks of threads.

    A limit on data counts them. `process` is where the system tells it; 0 where it does not.
    """
    sizes = _read_sizes(process / "status")
    touched = sizes.get("RssAnon", 0) + sizes.get("VmSwap", 0)
    return max(0, sizes.get("VmData", 0) - touched) if touched else 0


def _find_limit() -> int | None:
    """The limit on data of this process, as a worker has one."""
    with suppress(ImportError, AttributeError, ValueError, OSError):  # Windows has no such limits
        import resource

        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        return None if limit == resource.RLIM_INFINITY else limit
    return None


def _list_groups_left(groups: Path, own: Path) -> Iterator[int]:
    """What each control group of this process leaves; the cache of files that it can drop is not counted as taken."""
    for folder in list_groups(groups, own, "memory"):
        for most, taken in _FILES:
            with suppress(OSError, ValueError):
                limit, usage = (int((folder / name).read_text("ascii")) for name in (most, taken))  # "max" is no number
                yield limit - usage + _read_sizes(folder / "memory.stat").get("inactive_file", 0)


def _read_sizes(file: Path) -> dict[str, int]:
    """The bytes in a file of lines such as `VmRSS: 12 kB` or `inactive_file 4096`; empty where there is no such file."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for words in map(str.split, file.read_text("utf-8").splitlines()):
            if len(words) > 1 and words[1].isdecimal():
                found[words[0].rstrip(":")] = int(words[1]) * (1024 if words[2:] == ["kB"] else 1)
    return found


def return_memory() -> None:
    """Give memory that was freed back to the system, where the C library can."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_blocks(largest: int) -> None:
    """Have the C library keep freed blocks of up to `largest` bytes for later, and give larger ones back at once, where it can.

    Kept blocks save the system's work for new memory, a tenth of a backward pass; but pieces of them lie unused between others, which
    was 400 MB of a pass that used 550.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, largest)
        library.mallopt(_TRIM_THRESHOLD, 2 * largest)


@contextmanager
def return_blocks() -> Iterator[None]:
    """Give freed blocks back at once while the block runs, and all that was kept before: for work that needs much memory for a moment."""
    keep_blocks(SMALL_BLOCKS)
    try:
        yield
    finally:
        return_memory()
        keep_blocks(LARGE_BLOCKS)
