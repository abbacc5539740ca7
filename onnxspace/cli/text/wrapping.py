"""Lines that are as wide as the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

#: Columns where there is no terminal, and the least that are used of one.
WIDTH, _LEAST = 80, 40


def terminal_width() -> int:
    """The number of columns of the terminal, or of the variable COLUMNS; 80 without either."""
    return max(_LEAST, shutil.get_terminal_size((WIDTH, 24)).columns)


def wrap(text: str, first: str = "", rest: str = "") -> Iterator[str]:
    """Break a text into lines of the terminal's width at its blanks; `first` is in front of the first line, `rest` of the others.

    >>> list(wrap("a b", "- "))
    ['- a b']
    """
    width = terminal_width()
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    yield from lines or [first.rstrip()]
