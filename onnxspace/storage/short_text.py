"""Short texts of results, which interactive sessions print: a heading and a few lines, however large the result is.

Names are untrusted, so every one is made printable.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from onnxspace.storage.printable import make_printable, shorten

MOST_LINES, MOST_NAMES = 5, 3
_ROOM, _WIDTH = 40, 96


def join_lines(heading: str, *parts: Iterable[str]) -> str:
    """Join a heading, made printable, and lines, which are indented and printable already.

    >>> join_lines("2 models", ["a", "b"])
    '2 models\\n  a\\n  b'
    """
    return "\n  ".join((make_printable(heading), *(line for part in parts for line in part)))


def count(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun, whose plural ends in s unless it is given.

    >>> count(1, "model"), count(2, "model")
    ('1 model', '2 models')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def count_of(part: int, number: int, noun: str, verb: tuple[str, str] = ("is", "are")) -> str:
    """Return how many of a number there are, with the noun and the verb in its singular or plural form.

    >>> count_of(1, 4, "map"), count_of(2, 4, "map")
    ('1 of 4 maps is', '2 of 4 maps are')
    """
    return f"{part:,} of {count(number, noun)} {verb[part != 1]}"


def describe_images(facts: Mapping[str, Any]) -> str:
    """Describe a set of images by the entries `images`, their number, and `name` of its facts.

    >>> describe_images({"images": 1, "name": "photos"})
    '1 image (photos)'
    """
    number = facts.get("images", "?")
    return f"{count(number, 'image') if isinstance(number, int) else f'{number} images'} ({facts.get('name', '?')})"


def format_value(value: float | None) -> str:
    """Format a number with three decimals, without a minus before zero.

    >>> format_value(-0.0001), format_value(None)
    ('0.000', 'n/a')
    """
    return "n/a" if value is None or math.isnan(value) else f"{round(float(value), 3) + 0.0:.3f}"


def list_names(names: Sequence[str], most: int = MOST_NAMES, room: int = _ROOM) -> str:
    """Return the first names, of at most `room` characters each, and how many more there are.

    >>> list_names(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    listed = ", ".join(shorten(name, room) for name in names[:most])
    return listed + (f" and {len(names) - most:,} more" if len(names) > most else "")


def wrap_notes(notes: Iterable[str]) -> Iterator[str]:
    """Break sentences, made printable, into lines of 96 characters.

    >>> list(wrap_notes(["a\\nb"]))
    ['a b']
    """
    for note in notes:
        yield from textwrap.wrap(make_printable(note), _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def align(rows: Sequence[Sequence[str]], total: int | None = None) -> Iterator[str]:
    """Align the columns of a few rows, the first to the left and others to the right; `total` counts all rows (None: these).

    >>> list(align([["a", "1.000"], ["long", "n/a"]], 7))
    ['a     1.000', 'long    n/a', 'and 5 more']
    """
    cells = [[shorten(row[0], _ROOM), *map(make_printable, row[1:])] for row in rows]
    rooms = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *rest in cells:
        right = (f"{cell:>{room}}" for cell, room in zip(rest, rooms[1:], strict=True))
        yield "  ".join((f"{first:<{rooms[0]}}", *right)).rstrip()
    if total is not None and total > len(rows):
        yield f"and {total - len(rows):,} more"


def count_losses(failed: Sequence[str], warnings: Sequence[str]) -> Iterator[str]:
    """Lines on what `failed`, by name, and on the number of `warnings`; none where there is neither.

    >>> list(count_losses(["net.onnx"], ["It is old.", "It is odd."]))
    ['1 failed: net.onnx', '2 warnings']
    """
    if failed:
        yield f"{len(failed):,} failed: {list_names(failed)}"
    if warnings:
        yield count(len(warnings), "warning")
