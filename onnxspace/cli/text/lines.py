"""Lines of text: without control characters, numbers in one form, and prose that fits the width of a terminal."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterator

#: Columns where there is no terminal, and the least that are used of one.
WIDTH, _LEAST = 80, 40
#: The most models of which the matrix and all rankings are printed unless something else is asked for.
MOST_PRINTED = 12


def one_line(message: str) -> str:
    """A message without line breaks and control characters, since names come from untrusted files."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in message).split())


def format_number(value: float, error: float = 0.0) -> str:
    """Three decimals without a minus before zero, and the standard error of an estimate."""
    text = "   n/a" if math.isnan(value) else f"{round(float(value), 3) + 0.0:6.3f}"
    return f"{text} ± {error:.3f}" if error else text


def terminal_width() -> int:
    """The number of columns of the terminal, or of the variable COLUMNS; 80 without either."""
    return max(_LEAST, shutil.get_terminal_size((WIDTH, 24)).columns)


def wrap(text: str, first: str = "", rest: str = "") -> Iterator[str]:
    """Break a text into lines of the terminal's width at its blanks; `first` is in front of the first line, `rest` of the others.

    Words are kept whole, and so are names with hyphens.

    >>> list(wrap("a b", "- "))
    ['- a b']
    """
    lines = textwrap.wrap(
        text, terminal_width(), initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    yield from lines or [first.rstrip()]
