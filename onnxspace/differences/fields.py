"""Values of a worker's answer, which may be compromised by a model that it read: each is checked, or raises ValueError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxspace.storage.json_fields import is_text, is_whole, require


def read_items(given: Any, most: int) -> Sequence[Any]:
    """A list of at most `most` items."""
    require(isinstance(given, list) and len(given) <= most, "list")
    items: Sequence[Any] = given
    return items


def read_text(given: Any, most: int) -> str:
    """A text of at most `most` characters."""
    require(is_text(given, most), "text")
    return str(given)


def read_whole(given: Any) -> int:
    """A whole number from 0 on."""
    require(is_whole(given, 0, 2**62), "number")
    return int(given)
