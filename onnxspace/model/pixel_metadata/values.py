"""Values of untrusted metadata: numbers, sizes and lists of them, each checked, and the options that they make."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Color

_INTERPOLATIONS = frozenset({"nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"})
_MOST_TEXT, _LARGEST, _MOST_SIDE = 10_000, 1e6, 8192
_NUMBER = r"-?\d{1,12}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?"
_FRACTION = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER}))?\s*")


def parse_number(value: Any, what: str) -> float:
    """A finite number from a number, or from text such as `0.5` or `1./255.`. Raises ValueError naming `what`."""
    if isinstance(value, str) and (parts := _FRACTION.fullmatch(value[:100])) is not None and float(parts[2] or 1):
        value = float(parts[1]) / float(parts[2] or 1)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"{what} is not a number")
    return float(value)


def parse_numbers(value: Any, what: str) -> tuple[float, ...]:
    """One or three numbers, of which three equal ones become one. Raises ValueError naming `what`."""
    values = value if isinstance(value, list) else [value]
    if len(values) not in (1, 3):
        raise ValueError(f"{what} does not hold one number, or one per channel")
    found = tuple(parse_number(one, what) for one in values)
    return found[:1] if len(set(found)) == 1 else found


def parse_nonzero(value: Any, what: str) -> tuple[float, ...]:
    """One or three numbers that are not zero. Raises ValueError naming `what`."""
    found = parse_numbers(value, what)
    if 0 in found:
        raise ValueError(f"{what} is zero")
    return found


def parse_scale(value: Any, what: str) -> float:
    """A number that is not zero. Raises ValueError naming `what`."""
    found = parse_number(value, what)
    if found == 0:
        raise ValueError(f"{what} is zero")
    return found


def parse_side(value: Any, what: str) -> int:
    """A side in pixels, from a number or digits. Raises ValueError naming `what`."""
    found = parse_number(value, what)
    if found != int(found) or not 1 <= found <= _MOST_SIDE:
        raise ValueError(f"{what} is not a size from 1 to {_MOST_SIDE} pixels")
    return int(found)


def parse_flag(value: Any, what: str) -> bool:
    """True or false, also as text. Raises ValueError naming `what`."""
    word = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower())
    if word is None or not isinstance(value, bool | str):
        raise ValueError(f"{what} is neither true nor false")
    return word


def parse_list(text: str, what: str) -> list[Any]:
    """The values of a list in text: `[1, 2]`, `1 2` or `data[1,2]`. Raises ValueError naming `what`."""
    inside = text[:_MOST_TEXT].strip()
    if inside.endswith("]"):
        inside = inside[inside.find("[") + 1 : -1]
    values = inside.replace(",", " ").split()
    return [parse_number(value, what) for value in values]


def parse_object(text: str, what: str) -> Mapping[str, Any]:
    """The object in JSON text. Raises ValueError naming `what`."""
    try:
        found = json.loads(text) if len(text) <= 2**20 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{what} is not an object in JSON")
    return found


def make_options(
    source: str,
    *,
    scale: float | None = None,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    color: Color | None = None,
    size: tuple[int, int] | None = None,
    geometry: str | None = None,
) -> ModelOptions:
    """The options that `source` states; without a `scale` it states no range, and `mean` and `std` don't count.

    Values are those of `x = (pixel · scale − mean) / std`, with one mean and std, or one per channel in the order of `color`.
    """
    if scale is None:
        return ModelOptions(color=color, size=size, geometry=geometry)
    return ModelOptions(
        color=color, size=size, scale=scale, mean=tuple(mean), std=tuple(std), origin="read", source=source, geometry=geometry
    )


def describe_geometry(crop: float | None, interpolation: str | None) -> str | None:
    """Words for a central crop, as a share of the shorter side, and an interpolation; None where photos are treated so anyway.

    >>> describe_geometry(0.875, "bicubic")
    'a central crop of 0.875, bicubic'
    """
    words = [
        *([] if crop is None or crop >= 1 else [f"a central crop of {crop:.3g}"]),
        *([interpolation] if interpolation in _INTERPOLATIONS - {"bilinear"} else []),
    ]
    return ", ".join(words) or None
