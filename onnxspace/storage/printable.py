"""Printable forms of untrusted names, for messages, pictures and tables."""

from __future__ import annotations

LONGEST = 28


def make_printable(name: str) -> str:
    """Replace line breaks in `name` by spaces, and characters that can't be displayed by question marks.

    >>> make_printable("a\\nb\\x00")
    'a b?'
    """
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in name).split())


def escape_surrogates(name: str) -> str:
    """Escape lone surrogates, which stand for bytes of a file name that are not valid text; they can't be printed or stored.

    >>> escape_surrogates("a\\udcff")
    'a\\\\udcff'
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def shorten(name: str, longest: int = LONGEST) -> str:
    """Shorten `name`, made printable, to at most `longest` characters, leaving out the middle.

    Versions and sizes stand at the end of names, so both ends are kept.

    >>> shorten("a-very-long-model-name-v2", 12)
    'a-ve…name-v2'
    """
    clean = make_printable(name)
    if len(clean) <= longest:
        return clean
    head = max(1, (longest - 1) * 4 // 9)
    tail = max(0, longest - 1 - head)
    return f"{clean[:head]}…{clean[len(clean) - tail :]}"
