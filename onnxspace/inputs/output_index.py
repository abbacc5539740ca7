"""The index of values of an output, as users write it: whole numbers, slices and an ellipsis, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from onnxspace.errors import ConfigError

_MOST_PARTS, _LARGEST = 8, 2**31
_WHOLE = r"-?\d{1,10}"
_PART = re.compile(rf"\s*(?:\.\.\.|{_WHOLE}|(?:{_WHOLE})?:(?:{_WHOLE})?(?::(?:{_WHOLE})?)?)\s*")


def parse_index(text: str) -> tuple[Any, ...]:
    """Return an index as NumPy takes it: whole numbers, slices, and an ellipsis. Raises ConfigError for anything else.

    >>> parse_index("0,1:3")
    (0, slice(1, 3, None))
    """
    parts = text.split(",")
    if len(parts) > _MOST_PARTS or not all(_PART.fullmatch(part) for part in parts) or text.count("...") > 1:
        raise ConfigError(
            f"[{text[:40]}] is not an index. Write whole numbers, slices and one ..., such as [0,:,4] or [0,...,1:3]."
        )
    found = tuple(_parse_part(part.strip()) for part in parts)
    numbers = [n for part in found for n in ((part.start, part.stop, part.step) if isinstance(part, slice) else (part,))]
    if any(isinstance(n, int) and abs(n) > _LARGEST for n in numbers) or any(
        isinstance(p, slice) and p.step == 0 for p in found
    ):
        raise ConfigError(f"[{text[:40]}] has a number out of range, or a step of 0. Correct the index.")
    return found


def _parse_part(part: str) -> Any:
    if part == "...":
        return Ellipsis
    if ":" not in part:
        return int(part)
    return slice(*(int(side) if side else None for side in part.split(":")))
