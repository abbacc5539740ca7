"""How `--help` is written: names with hyphens, such as `layer-cam`, are not broken at the end of a line."""

from __future__ import annotations

from collections.abc import Iterable

import click

#: Stands for the hyphen while lines are wrapped.
_UNBROKEN = "\N{NON-BREAKING HYPHEN}"


class UnbrokenHelp(click.HelpFormatter):
    """Help whose lines end between words only."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _UNBROKEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(term, text.replace("-", _UNBROKEN)) for term, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_UNBROKEN, "-")
