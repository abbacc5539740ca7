"""`--memory`: a number of bytes as people write it."""

from __future__ import annotations

import re

import click

LEAST = 2**20
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)


def size(_context: click.Context, _parameter: click.Parameter, said: str) -> int:
    """`512M`, `2G`, `1GiB` or bytes; `MB` and its kin are powers of 1,000. Raises BadParameter."""
    found = _SIZE.fullmatch(said.strip())
    if found is None:
        raise click.BadParameter(f"{said!r} is no amount of memory. Write it like 512M, 2G, 1GiB, or in bytes.")
    base = 1000 if (found[3] or "").upper() == "B" else 1024
    count = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if count < LEAST:
        raise click.BadParameter(f"{said} is too little memory to compare maps in. Give 1M or more.")
    return count


memory = click.option(
    "--memory", callback=size, default="1GiB", show_default=True, metavar="SIZE",
    help="Memory for maps that are being compared, such as 512M or 2G.",
)  # fmt: skip
