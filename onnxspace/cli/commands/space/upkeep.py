"""Commands that verify and tidy the files of a space."""

from __future__ import annotations

import click

from onnxspace.cli.commands.space.group import (
    json_option,
    open_space,
    place_argument,
    print_json,
    space,
)
from onnxspace.cli.console import print_lines, progress_bar
from onnxspace.cli.options import no_notes_option, quiet_option
from onnxspace.storage.short_text import count as number

DIFFERENT = 1


@space.command()
@place_argument
@quiet_option
@json_option("verify")
def verify(place: str, quiet: bool, as_json: bool) -> int:
    """Verify every file of the space, and report what differs.

    Exit code 1 if anything is missing, truncated, changed, or does not belong to this space.
    """
    from onnxspace.cli.text import space as spacetext

    opened = open_space(place)
    with progress_bar(enabled=not quiet) as bar:
        found = opened.verify(bar)
    if as_json:
        print_json("verify", spacetext.verification_as_json(found))
    else:
        print_lines(spacetext.verification(found))
    return 0 if found.clean else DIFFERENT


@space.command()
@place_argument
@no_notes_option
def compact(place: str) -> None:
    """Remove files that are no longer used."""
    count, size = open_space(place).compact()
    click.echo(f"removed {number(count, 'file')}; {max(size, 0):,} bytes freed")
