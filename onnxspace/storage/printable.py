"""Names in pictures: they come from files that nobody vouches for."""

from __future__ import annotations

LONGEST = 28


def printable(name: str) -> str:
    """Without line breaks or characters that can't be drawn."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in name).split())


def shortened(name: str, longest: int = LONGEST) -> str:
    """At most `longest` characters, the middle left out: versions and sizes stand at the end of names."""
    clean = printable(name)
    if len(clean) <= longest:
        return clean
    head = max(1, (longest - 1) * 4 // 9)
    tail = max(0, longest - 1 - head)
    return f"{clean[:head]}…{clean[len(clean) - tail :]}"
