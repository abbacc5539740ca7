"""Lines of text: without control characters, numbers in one form, prose and tables that fit the width of a terminal."""

from __future__ import annotations

import math
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence

#: Columns of tables where there is no terminal, and the least and the most that are used of one.
WIDTH, _LEAST, _MOST = 80, 40, 10_000
#: Characters to which names in tables are shortened.
_SHORTEST = 12
#: The most models of which the matrix and all rankings are printed unless something else is asked for.
MOST_PRINTED = 12


def one_line(message: str) -> str:
    """A message without line breaks and control characters, since names come from untrusted files."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in message).split())


def as_sentence(message: str) -> str:
    """A message with a capital letter and a full stop; options, names of files and values at its start are left as they are.

    >>> as_sentence("name a model"), as_sentence("--form needs --calibrate."), as_sentence("net.onnx is old")
    ('Name a model.', '--form needs --calibrate.', 'net.onnx is old.')
    """
    start = message[:1].upper() if message.partition(" ")[0].isalpha() else message[:1]
    return start + message[1:] + ("" if message.endswith((".", "?", "!")) else ".")


def format_number(value: float, error: float = 0.0) -> str:
    """Three decimals without a minus before zero, and the standard error of an estimate."""
    text = "   n/a" if math.isnan(value) else f"{round(float(value), 3) + 0.0:6.3f}"
    return f"{text} ± {error:.3f}" if error else text


def terminal_width(*, err: bool = False) -> int | None:
    """The columns that the variable COLUMNS states, else those of the terminal that standard output is (`err`: standard error).

    None without either, as in a pipe or a file: prose is then not wrapped, so that a message is a line, as scripts and logs need it.
    """
    stated = os.environ.get("COLUMNS", "")
    if stated.isascii() and stated.isdigit() and int(stated[:9]):
        return min(max(_LEAST, int(stated[:9])), _MOST)
    try:
        columns = os.get_terminal_size((sys.stderr if err else sys.stdout).fileno()).columns
    except (AttributeError, OSError, ValueError):
        return None
    return max(_LEAST, columns or WIDTH)


def table_width() -> int:
    """The columns that a table on standard output may have: those of the terminal, 80 where there is none."""
    return terminal_width() or WIDTH


def wrap(text: str, first: str = "", rest: str = "", *, err: bool = False, table: bool = False) -> Iterator[str]:
    """Break a text at its blanks into lines that fit the terminal; `first` is in front of the first line, `rest` of the others.

    Words are kept whole, and so are names with hyphens. Without a terminal it is one line, unless it is the row of a `table`. `err`
    says that it is for standard error.

    >>> list(wrap("a b", "- "))
    ['- a b']
    """
    width = table_width() if table else terminal_width(err=err)
    if width is None:
        yield (first + text).rstrip()
        return
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    yield from lines or [first.rstrip()]


def align(rows: Sequence[Sequence[str]], name: int, gap: str = "  ") -> Iterator[str]:
    """A table as lines: the column `name` is aligned left, all others right; columns that don't fit the terminal follow below.

    Names are shortened in the middle, to 12 characters at least, where that makes the table fit, and else to half of a line. Each
    part that follows has the column `name` too and a blank line in front, and no rows that are empty there. `gap` is between columns.

    >>> list(align([["place", "model"], ["1", "a"]], name=1))
    ['place  model', '    1  a']
    """
    room = _name_room(rows, name, gap)
    rows = [[_cut_middle(cell, room) if column == name else cell for column, cell in enumerate(row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for part, columns in enumerate(_divide([width + len(gap) for width in widths], name, len(gap))):
        if part:
            yield ""
        for row in rows:
            if not part or any(row[c] for c in columns[1:]):
                cells = (f"{row[c]:<{widths[c]}}" if c == name else f"{row[c]:>{widths[c]}}" for c in columns)
                yield gap.join(cells).rstrip()


def _cut_middle(cell: str, room: int) -> str:
    """A cell of at most `room` characters; its blanks are kept, since places may be in front of names."""
    head = (room - 1) // 2
    return cell if len(cell) <= room else f"{cell[:head]}…{cell[len(cell) - room + 1 + head :]}"


def _name_room(rows: Sequence[Sequence[str]], name: int, gap: str) -> int:
    """Characters of names: what other columns leave, else, where the table is divided, the widest of those behind."""
    room = table_width() - least_width(rows, name, gap) + _SHORTEST
    if room >= _SHORTEST:
        return room
    widths = [max(map(len, column)) + len(gap) for column in zip(*rows, strict=True)]
    left = table_width() - sum(widths[:name]) - max(widths[name + 1 :], default=0)
    return max(_SHORTEST, min(left, table_width() // 2))


def least_width(rows: Sequence[Sequence[str]], name: int, gap: str = "  ") -> int:
    """The columns that a table takes whose names, in the column `name`, are shortened to 12 characters.

    >>> least_width([["place", "model"], ["1", "a-very-long-name"]], name=1)
    19
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) - widths[name] + _SHORTEST + len(gap) * (len(widths) - 1)


def _divide(widths: Sequence[int], name: int, gap: int) -> Iterator[list[int]]:
    """The columns of each part of a table; `widths` are those of the columns with the gap behind them."""
    part: list[int] = list(range(name + 1))
    for column in range(name + 1, len(widths)):
        if sum(widths[c] for c in (*part, column)) - gap > table_width() and part[-1] != name:
            yield part
            part = [name]
        part.append(column)
    yield part
