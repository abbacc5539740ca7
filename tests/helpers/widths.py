"""Lines that are wider than a terminal."""

from __future__ import annotations

#: The terminal of the tests.
WIDTH = 80


def list_wide_lines(text: str, width: int = WIDTH) -> list[str]:
    """The lines of prose and tables that are longer than `width`, not counting a path or a tensor at their end; JSON is neither."""
    return [line for line in text.splitlines() if not line.startswith("{") and len(_leave_out_path(line)) > width]


def _leave_out_path(line: str) -> str:
    rest, _, last = line.rpartition(" ")
    return rest if "/" in last else line
