"""A module of tasks that reserves memory when it is imported, and does not touch it, as Torch's libraries for GPUs do."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from typing import Any

RESERVED = mmap.mmap(-1, 2**29, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def fill(request: Mapping[str, Any], advance: Callable[[int], None]) -> dict[str, int]:
    """Allocate as many bytes as the request says, and touch all of them."""
    return {"bytes": len(b"\1" * request["bytes"])}


TASKS = {"fill": fill}
