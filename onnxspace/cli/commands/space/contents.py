"""Commands that make a space, and that add, remove, list and hand on its models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.commands.space.group import (
    FAILED,
    json_option,
    open_space,
    place_argument,
    print_json,
    set_option,
    space,
    where_option,
)
from onnxspace.cli.console import (
    print_error,
    print_lines,
    print_note,
    print_notes,
    print_remarks,
    progress_bar,
    report_kept_work,
)
from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    METHOD_HELP,
    class_options,
    cluster_option,
    label_options,
    number_options,
    opening_options,
    pixel_options,
    probes_from,
    quiet_option,
    read_list,
    skip_broken_option,
    take_compute,
    take_method_options,
    take_pixels,
    take_targets,
)
from onnxspace.cli.seeds import PROBE_SEED, seed_option
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS
from onnxspace.inputs.precision import KEPT_PRECISIONS
from onnxspace.inputs.targets import take_one
from onnxspace.storage.short_text import count

if TYPE_CHECKING:
    from onnxspace.spaces.add_fingerprints import Additions
    from onnxspace.workflows.space import Space


@space.command()
@place_argument
@click.option("--probe", metavar="DIR", help="Folder of photos to explain models on; without it, generated images.")
@skip_broken_option
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@seed_option(PROBE_SEED)
@click.option(
    "--method",
    type=Names(tuple(METHODS), "method"),
    default=DEFAULT_METHOD,
    show_default=True,
    metavar="METHOD",
    help=f"{METHOD_HELP}.",
)
@number_options
@class_options
@click.option(
    "--precision", type=Names(KEPT_PRECISIONS, "precision"), default="float32", show_default=True,
    help="Precision of matrix products, in which all models are explained; older versions refuse a space of another than float32.",
)  # fmt: skip
@click.option("--config", metavar="FILE", help="File with changes of the method's rules [default: onnxspace.toml, if there].")
@click.option(
    "--keep-maps/--no-keep-maps", default=True, show_default=True,
    help="Keep whole maps, or fingerprints only (affinities then have a standard error).",
)  # fmt: skip
@click.option(
    "--detail", type=Names(("maps", "images", "pictures"), "detail"),
    help="What is kept beside maps: nothing; features and outputs in little, to rank by answers per image; or by pictures too "
    "[default: pictures with --probe, else maps].",
)  # fmt: skip
@quiet_option
def create(place: str, probe: str | None, images: int | None, seed: int, quiet: bool, **options: Any) -> None:
    """Create an empty space.

    Its images, method and options apply to every model that is added later.
    """
    from onnxspace.inputs.methods import resolve_settings

    settings = take_method_options(options)
    resolve_settings([options["method"]], settings)
    options["explained"] = take_one(take_targets(options))
    from onnxspace.spaces.create import refuse_occupied
    from onnxspace.workflows.space import Space

    refuse_occupied(Path(place))
    probes = probes_from(probe, images, seed, skip_broken=options.pop("skip_broken"))
    Space.create(place, print_remarks(probes, quiet=quiet), options=settings, **options)


@space.command()
@place_argument
@set_option
@click.argument("models", nargs=-1, metavar="MODEL.onnx|PRINT.fp...")
@click.option(
    "--from", "listed", metavar="FILE|-", help="File with the path of a model or fingerprint per line; - is standard input."
)
@opening_options
@pixel_options
@cluster_option
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--probe", metavar="DIR", help="Folder of the probe photos, if the space does not contain them.")
@skip_broken_option
@seed_option("Number that the sample of the photos is drawn by")
@label_options
@json_option("add")
def add(
    place: str, chosen: str | None, models: tuple[str, ...], listed: str | None, probe: str | None, seed: int, quiet: bool, as_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Explain models and add them.

    Each model is added as soon as it is done; one that the space already contains is left as it is. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME. The licence and the source that are written in a file or
    beside it are kept; --license and --tag are for all models of the command, also those that the space has already. In a space with
    several sets of probe images, models are explained on each, and fingerprints go to the set on whose images they were made.
    """
    from onnxspace.cli.announce import PixelTable

    compute, skip_broken = take_compute(options), options.pop("skip_broken")
    models = (*models, *read_list(listed))
    if not models:
        raise click.UsageError("name models or fingerprints to add, or a list of them with --from.")
    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
    opened = open_space(place, chosen=chosen)
    if probe is not None and len(opened.sets) > 1:
        raise click.UsageError("--probe is for one set of probe images: name it with --set.")
    from onnxspace.quiet import silence_libraries
    from onnxspace.workflows.probe_sets import add_to_sets

    with report_kept_work(), silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        probes = print_remarks(_read_probes(opened, probe, seed, skip_broken=skip_broken), quiet=quiet)
        found = add_to_sets(opened, list(models), device=compute, probes=probes, progress=bar, **options)
    for name, one in found.items():
        if len(found) > 1:
            print_note(f"set {name}", quiet=quiet)
        _print_added(one, quiet=quiet, stated=bool(options["license"] or options["tags"]))
    if as_json:
        first, *others = found
        sets = {"sets": {name: _describe_added(found[name]) for name in others}} if others else {}
        print_json("add", {**_describe_added(found[first]), **sets})
    return FAILED if any(one.failed for one in found.values()) else 0


def _describe_added(found: Additions) -> dict[str, Any]:
    return {
        "added": [asdict(model) for model in found.models], "there": _as_pairs(found.there),
        "completed": _as_pairs(found.completed), "labelled": list(found.labelled),
        "failed": [vars(failure) for failure in found.failed],
        "warnings": list(found.warnings),
    }  # fmt: skip


def _as_pairs(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "name": name} for path, name in pairs]


def _read_probes(opened: Space, probe: str | None, seed: int, *, skip_broken: bool) -> Any:
    if probe is None:
        return None
    return probes_from(probe, opened.protocol.images, seed, opened.protocol.size, skip_broken=skip_broken)


def _print_added(found: Additions, *, quiet: bool, stated: bool = False) -> None:
    for failure in found.failed:
        print_error(failure.error)
    print_notes(_describe_additions(found, stated=stated), quiet=quiet)


def _describe_relabelling(changed: bool, stated: bool) -> str:
    """What became of the labels of a model that was there, where some were `stated` or are others now."""
    if changed:
        return "; its labels were updated"
    return "; it has the stated labels already" if stated else ""


def _describe_additions(found: Additions, *, stated: bool) -> Iterator[str]:
    from onnxspace.cli.text.pixels import assumptions

    yield from (f"warning: {warning}" for warning in found.warnings)
    yield from (f"{path} completes {name}, which lacked some of it" for path, name in found.completed)
    for path, name in found.there:
        yield f"{path} is already in the space, as {name}{_describe_relabelling(name in found.labelled, stated)}"
    yield from (f"added {model.name}" for model in found.models)
    yield from assumptions(found.models)


@space.command()
@place_argument
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@quiet_option
def remove(place: str, names: tuple[str, ...], quiet: bool) -> None:
    """Remove models, from all sets of probe images.

    Exit code 2 if a set is damaged; they are removed from the others.
    """
    opened = open_space(place)
    for name in names:
        removed = opened.name_of(name)
        opened.remove(name)
        print_note(f"removed {removed}", quiet=quiet)


@space.command()
@place_argument
@click.argument("others", nargs=-1, required=True, metavar="OTHER.space...")
@where_option
@quiet_option
@json_option("merge")
def merge(place: str, others: tuple[str, ...], where: tuple[str, ...], quiet: bool, as_json: bool) -> int:
    """Add the models of other spaces.

    All spaces must have the same images, method and detail. Maps are copied where both spaces keep maps. Exit code 2 if files of a
    model are damaged; all others are added.
    """
    opened = open_space(place)
    with progress_bar(enabled=not quiet) as bar:
        found = [opened.merge(open_space(other, where), bar) for other in others]
    for one in found:
        _print_added(one, quiet=quiet)
    if as_json:
        print_json("merge", {
            "added": [asdict(model) for one in found for model in one.models],
            "there": _as_pairs([pair for one in found for pair in one.there]),
            "completed": _as_pairs([pair for one in found for pair in one.completed]),
            "failed": [vars(failure) for one in found for failure in one.failed],
        })  # fmt: skip
    return FAILED if any(one.failed for one in found) else 0


@space.command()
@place_argument
@set_option
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for the fingerprints, one .fp file per model.")
@where_option
@click.option("--no-provenance", is_flag=True, help="Write neither licence nor source, producer or tags.")
@quiet_option
def export(
    place: str, chosen: str | None, names: tuple[str, ...], output: str, where: tuple[str, ...], no_provenance: bool, quiet: bool
) -> None:  # fmt: skip
    """Write the fingerprints of all models, or of those that are named."""
    if names and where:
        raise click.UsageError("name models, or choose them with --where.")
    opened = open_space(place, where, chosen)
    with progress_bar(enabled=not quiet) as bar:
        files = opened.export(output, names or None, bar, labels=not no_provenance)
    print_note(f"{count(len(files), 'fingerprint')} in {output}", quiet=quiet)


@space.command(name="list")
@place_argument
@set_option
@where_option
@quiet_option
@json_option("list")
def list_(place: str, chosen: str | None, where: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Show the images and method of the space, and its models with their licences and tags."""
    from onnxspace.cli.text import space as spacetext

    opened = open_space(place, where, chosen)
    if as_json:
        print_json("list", spacetext.list_as_json(opened))
    else:
        print_lines(spacetext.listing(opened))
