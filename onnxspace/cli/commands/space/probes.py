"""The command about the sets of probe images of a space, and the choice of one by pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.commands.space.group import (
    add_to_json,
    json_option,
    open_space,
    place_argument,
    print_damage,
    print_json,
    space,
)
from onnxspace.cli.console import print_lines, print_remarks
from onnxspace.cli.names import Names
from onnxspace.cli.options import probes_from, quiet_option, skip_broken_option
from onnxspace.cli.seeds import PROBE_SEED, seed_option
from onnxspace.errors import SpaceError

if TYPE_CHECKING:
    from onnxspace.workflows.space import Space


@space.command()
@place_argument
@click.option("--add", "name", metavar="NAME", help="Add a set of this name.")
@click.option("--probe", metavar="DIR", help="Folder of photos of the new set; without it, generated images.")
@skip_broken_option
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of its images [default: 64].")
@seed_option(PROBE_SEED)
@click.option(
    "--detail", type=Names(("maps", "images", "pictures"), "detail"),
    help="What is kept beside maps, as for `create` [default: pictures with --probe, else maps].",
)  # fmt: skip
@quiet_option
@json_option("probes")
def probes(
    place: str, name: str | None, probe: str | None, images: int | None, seed: int, quiet: bool, as_json: bool, **options: Any
) -> None:
    """List the sets of probe images, or add one.

    Each set has fingerprints of its own of every model. `add` explains models on all sets; the other commands use the first, or the
    one that --set names.
    """
    from onnxspace.cli.text import space as spacetext

    opened, skip_broken = open_space(place), options.pop("skip_broken")
    if name is None and (probe is not None or images is not None):
        raise click.UsageError("--probe and --images are for a new set: name it with --add.")
    if name is not None:
        size = opened.protocol.size if probe is None else None
        drawn = probes_from(probe, images, seed, skip_broken=skip_broken) if size is None else _draw(images, size, seed)
        opened.add_set(name, print_remarks(drawn, quiet=quiet), **options)
    sets = list(_describe_sets(opened))
    if as_json:
        print_json("probes", {"sets": sets})
        return
    print_lines(spacetext.probe_sets(sets))


def _draw(images: int | None, size: int, seed: int) -> Any:
    from onnxspace.inputs.probes import DEFAULT_IMAGES, Probes

    return Probes.generate(images or DEFAULT_IMAGES, size, seed)


def _describe_sets(opened: Space) -> Iterator[dict[str, Any]]:
    """What is printed of each set; one that can't be read is named as damage."""
    from onnxspace.similarity.records import Failure

    for name in opened.sets:
        try:
            yield _describe(opened, name)
        except SpaceError as error:
            print_damage(Failure(str(opened.path), str(error)))


def _describe(opened: Space, name: str) -> dict[str, Any]:
    one = opened.open_set(name)
    return {"name": name, "probe": one.protocol.probe_facts(), "detail": one.protocol.detail, "models": len(one)}


def choose_set(opened: Space, pictures: str | None, chosen: str | None, *, quiet: bool, as_json: bool) -> Space:
    """The set named `chosen`, or else the one that is nearest to the pictures of a folder, which is printed."""
    if pictures is None:
        return opened if chosen is None else opened.open_set(chosen)
    from onnxspace.cli.text.lines import one_line, wrap

    drawn = print_remarks(probes_from(pictures, None, 0), quiet=quiet)
    distances = opened.rank_sets(drawn)
    name = chosen or distances[0][0]
    add_to_json({"set": {"name": name, "pictures": len(drawn), "distances": dict(distances)}})
    listed = ", ".join(f"{one} {value:.2f}" for one, value in distances)
    why = "named by --set" if chosen else "the nearest"
    if not as_json:
        title = f"Probe set {name}, {why}; distances of image statistics to {len(drawn)} pictures of {pictures}: {listed}"
        print_lines(wrap(one_line(title)))
    return opened.open_set(name)
