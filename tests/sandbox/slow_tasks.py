"""Tasks whose import takes seconds, as Torch's does on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

SECONDS = 3.0
time.sleep(SECONDS)


def _answer(_request: Mapping[str, Any], _advance: Callable[[int], None]) -> Mapping[str, Any]:
    return {"started": SECONDS}


def _sleep(_request: Mapping[str, Any], _advance: Callable[[int], None]) -> Mapping[str, Any]:
    time.sleep(60)
    return {}


TASKS = {"answer": _answer, "sleep": _sleep}
