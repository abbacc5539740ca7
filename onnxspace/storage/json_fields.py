"""Fields of untrusted JSON: what is text, a whole number, a SHA-256."""

from __future__ import annotations

import re
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_text(value: Any, most: int) -> bool:
    """Whether it is text of at most `most` characters."""
    return isinstance(value, str) and len(value) <= most


def is_sha256(value: Any) -> bool:
    """Whether it is 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether it is a whole number from `low` to `high`; True and False are none."""
    return type(value) is int and low <= value <= high


def require(holds: bool, what: str) -> None:
    """Raise ValueError with `what` makes no sense, unless it `holds`."""
    if not holds:
        raise ValueError(f"its {what} makes no sense")
