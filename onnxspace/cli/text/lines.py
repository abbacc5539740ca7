"""Lines of text: without control characters, numbers in one form, and prose that fits the width of a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

#: The width for which text is laid out, on every terminal and in files.
WIDTH = 80
#: The most models of which the matrix and all rankings are printed unless something else is asked for.
MOST_PRINTED = 12


def one_line(message: str) -> str:
    """A message without line breaks and control characters, since names come from untrusted files."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in message).split())


def format_number(value: float, error: float = 0.0) -> str:
    """Three decimals without a minus before zero, and the standard error of an estimate."""
    text = "   n/a" if math.isnan(value) else f"{round(float(value), 3) + 0.0:6.3f}"
    return f"{text} ± {error:.3f}" if error else text


def wrap(line: str, indent: str = "") -> Iterator[str]:
    """The lines of a sentence; those after the first begin with `indent`. Words are kept whole, and so are names with hyphens."""
    yield from textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [""]
