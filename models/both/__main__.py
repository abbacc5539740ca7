"""`python -m models.both` writes the section with both zoos in docs/ranking.md, and prints the summary of docs/evidence.md."""

from __future__ import annotations

import click

from models.both.comparison import MODELS
from models.both.page import format_section, format_summary, read_zoos, write_section


@click.command(help=__doc__)
def main() -> None:
    """Write the section, print the table."""
    zoos = read_zoos()
    write_section(MODELS.parent / "docs" / "ranking.md", format_section(zoos))
    click.echo(format_summary(zoos), nl=False)


if __name__ == "__main__":
    main()
