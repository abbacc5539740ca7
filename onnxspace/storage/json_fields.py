"""Validation of fields of untrusted JSON: text, integers and SHA-256 digests."""

from __future__ import annotations

import re
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_text(value: Any, most: int) -> bool:
    """Return whether `value` is a string of at most `most` characters."""
    return isinstance(value, str) and len(value) <= most


def is_sha256(value: Any) -> bool:
    """Return whether `value` is a string of 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def is_whole(value: Any, low: int, high: int) -> bool:
    """Return whether `value` is an int from `low` to `high`; booleans do not count."""
    return type(value) is int and low <= value <= high


def require(holds: bool, what: str) -> None:
    """Raise ValueError, naming the field `what` as invalid, unless the condition `holds`."""
    if not holds:
        raise ValueError(f"invalid {what}")
