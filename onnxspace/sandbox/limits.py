"""Limits of worker processes: how much memory and time one model may take."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from onnxspace.errors import ConfigError
from onnxspace.sandbox.processors import count_processors

_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([KMGT])(?:i?B)?", re.IGNORECASE)
#: The least limit in bytes that is accepted: libraries take .3 GB, a map of ResNet-50 takes .3 GB more.
_LEAST = 2**30
#: The least limit that is chosen where none is stated.
_LEAST_CHOSEN = 2**31
_MOST_SECONDS = 10**6
#: Where a container's limit of memory is written, by version of the interface.
_CONTAINERS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Limits:
    """What one model may take of the process that reads it: `memory` in bytes, `cpu` and `wall` in seconds.

    The memory includes what the libraries touch, about .3 GB, and not what they reserve. The times are those of one step: to open a model, to convert it, or to
    compute a batch of its images.
    """

    memory: int = 8 * 2**30
    cpu: int = 1800
    wall: int = 900

    def __str__(self) -> str:
        return f"memory={self.memory / 2**30:.3g}G,cpu={self.cpu},wall={self.wall}"


def parse_limits(text: str, default: Limits | None = None) -> Limits:
    """Parse limits such as `memory=4G,cpu=600,wall=300`, in any order; those left out are those of `default`. Raises ConfigError.

    >>> parse_limits("memory=4G,wall=300", Limits()).wall
    300
    """
    made: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key not in ("memory", "cpu", "wall"):
            raise ConfigError(f"--limits has no {key!r}; write memory=4G,cpu=600,wall=300.")
        made[key] = _parse_bytes(value) if key == "memory" else _parse_seconds(key, value)
    given = default or Limits()
    return Limits(made.get("memory", given.memory), made.get("cpu", given.cpu), made.get("wall", given.wall))


def resolve_limits(given: Limits | str | None) -> Limits:
    """The limits that an argument states: a `Limits`, text as `parse_limits` takes it, or None for those of this machine.

    Raises ConfigError.
    """
    refuse_other_limits(given)
    if isinstance(given, Limits):
        return given
    return machine_limits() if given is None else parse_limits(given, machine_limits())


def refuse_other_limits(given: object) -> None:
    """Raise ConfigError for an argument that states no limits of a process, such as a table of limits of metrics."""
    if not isinstance(given, Limits | str | None):
        raise ConfigError(
            f"limits are those of a process, as text such as 'memory=4G,cpu=600', and not {type(given).__name__}."
        )


@cache
def machine_limits() -> Limits:
    """The limits that are used where none are stated: half of this machine's memory, and ten minutes of all its processors."""
    return Limits(max(_LEAST_CHOSEN, count_machine_memory() // 2), 600 * count_processors(), 600)


def count_machine_memory() -> int:
    """Return the bytes of memory of this machine, or of the container that this process runs in."""
    sizes = [2**34]
    with suppress(AttributeError, ValueError, OSError):
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CONTAINERS:
        with suppress(OSError, ValueError):
            sizes.append(int(file.read_text("ascii")))
    return min(sizes)


def _parse_bytes(value: str) -> int:
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ConfigError(f"--limits memory={value} is not a size; write it as 512M or 4G.")
    size = int(float(found[1]) * _SIZES[found[2].upper()])
    if size < _LEAST:
        raise ConfigError(f"--limits memory={value} is less than the libraries need; allow 1G or more.")
    return size


def _parse_seconds(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 8 and 1 <= int(value) <= _MOST_SECONDS):
        raise ConfigError(f"--limits {key}={value} is not a number of seconds; give a whole number of at least 1.")
    return int(value)
