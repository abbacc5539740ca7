"""Commands that search a space by fingerprint, and the index for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.commands.space.group import (
    json_option,
    open_space,
    place_argument,
    print_json,
    print_warnings,
    set_option,
    share_bar,
    space,
    where_option,
)
from onnxspace.cli.console import print_lines, print_notes, progress_bar
from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    memory_option,
    opening_options,
    pixel_options,
    quiet_option,
    take_compute,
    take_pixels,
)
from onnxspace.storage.short_text import count as number

if TYPE_CHECKING:
    from onnxspace.similarity.affinity import Affinity


@space.command()
@place_argument
@set_option
@click.argument("model", metavar="NAME|PRINT.fp|MODEL.onnx")
@click.option(
    "-n", "--number", "count", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Number of models."
)
@click.option(
    "--by", type=Names(("kin", "use"), "kind of search"), default="kin", show_default=True,
    help="Models whose maps are alike, or models to start from for the task of MODEL.",
)  # fmt: skip
@opening_options
@pixel_options
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--exact", is_flag=True, help="Compare all fingerprints, even if there is an index.")
@where_option
@json_option("nearest")
def nearest(
    place: str, chosen: str | None, model: str, count: int, by: str, where: tuple[str, ...], quiet: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Show the models nearest to one, by fingerprint: its kin, or what to use as a source for its task.

    A model that is not in the space (an .onnx file, or what `onnxspace convert` takes) is explained, but not added. In a large space, the index is used if there is one.
    """
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.text import space as spacetext
    from onnxspace.quiet import silence_libraries

    compute = take_compute(options)
    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
    options |= {"device": compute, "warn": print_warnings(quiet=quiet)}
    opened = open_space(place, where, chosen)
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        if by == "use":
            found = opened.sources(model, progress=bar, **options)
        else:
            near = opened.nearest(model, count, progress=bar, **options)
    if by == "use":
        _print_sources(model, found, count, quiet=quiet, as_json=as_json)
    elif as_json:
        print_json("nearest", {"target": model, "by": by, "nearest": [spacetext.neighbour_as_json(one) for one in near]})
    else:
        print_lines(spacetext.neighbours(model, near))


def _print_sources(model: str, found: Affinity, count: int, *, quiet: bool, as_json: bool) -> None:
    """Print the best sources as `rank` prints them, with what the ranking rests on."""
    from onnxspace.cli.text import score as text
    from onnxspace.cli.text import space as spacetext

    if as_json:
        print_json("nearest", {"target": model, **spacetext.sources_as_json(found, count)})
        return
    target = found.names[-1:]
    print_lines((*text.rankings(found, target, count), *text.evidence_note(found, target)))
    print_notes(text.warnings(found), quiet=quiet)


@space.command()
@place_argument
@set_option
@click.option(
    "--least",
    type=click.FloatRange(-1, 1),
    default=0.9,
    show_default=True,
    metavar="A",
    help="Smallest affinity of duplicates.",
)
@quiet_option
@memory_option
@where_option
@json_option("duplicates")
def duplicates(
    place: str, chosen: str | None, least: float, memory: int, where: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Show groups of models that may be the same network.

    Such models were exported twice, quantised, or changed by about a hundredth of their weights. Candidate pairs are found by fingerprints and confirmed
    by maps.
    """
    from onnxspace.cli.text import space as spacetext

    opened = open_space(place, where, chosen)
    with share_bar(quiet=quiet) as share:
        found = opened.duplicate_groups(least, memory, share, print_warnings(quiet=quiet))
    if as_json:
        print_json("duplicates", {"least": least, **spacetext.duplicates_as_json(found)})
    else:
        print_lines(spacetext.duplicates(found))


@space.command()
@place_argument
@click.option(
    "--by", type=Names(("kin", "use"), "kind of search"), help="Which index [default: both, where the space ranks by use]."
)
@set_option
@quiet_option
@json_option("index")
def index(place: str, chosen: str | None, by: Any, quiet: bool, as_json: bool) -> None:
    """Index the fingerprints, for `nearest` and `rank` in a large space.

    Run it again to add models that came later. The index by kin needs usearch (the extra `search`).
    """
    opened = open_space(place, chosen=chosen)
    with share_bar(quiet=quiet, what="indexing") as share:
        count = opened.index(share, by)
    if as_json:
        print_json("index", {"models": count})
    else:
        click.echo(f"{number(count, 'model')} indexed")
