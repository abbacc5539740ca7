"""The command `onnxspace fingerprint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    METHOD_HELP,
    class_options,
    label_options,
    number_options,
    opening_options,
    pixel_options,
    probes_from,
    skip_broken_option,
    take_compute,
    take_method_options,
    take_pixels,
    take_targets,
)
from onnxspace.cli.replaced import note_replaced
from onnxspace.cli.seeds import PROBE_SEED, seed_option
from onnxspace.errors import OutputError
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, resolve_settings
from onnxspace.inputs.targets import take_one


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option(
    "-o", "--output", required=True, callback=note_replaced, metavar="FILE.fp", help="Where to write the fingerprint."
)
@click.option(
    "--space", "place", metavar="ZOO.space", help="Space whose images, method and options the model is explained with."
)
@click.option("--probe", metavar="DIR", help="Folder of photos to explain the model on; without it, generated images.")
@skip_broken_option
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@seed_option(PROBE_SEED)
@click.option(
    "--method", type=Names(tuple(METHODS), "method"), metavar="METHOD", help=f"{METHOD_HELP} [default: {DEFAULT_METHOD}]."
)
@click.option(
    "--detail",
    type=Names(("maps", "images", "pictures"), "detail"),
    help="What the file holds: maps alone; also features and outputs in reduced form, to rank by answers per image (images), or "
    "by outputs that are pictures too [default: pictures with --probe, else maps].",
)
@click.option("--no-outputs", is_flag=True, help="Leave out the outputs of the model.")
@label_options
@click.option("--no-provenance", is_flag=True, help="Hold neither licence nor source, producer or tags.")
@number_options
@class_options
@opening_options
@pixel_options
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
def fingerprint(
    model: str, output: str, place: str | None, probe: str | None, images: int | None, seed: int, quiet: bool, no_outputs: bool,
    detail: Any, license: str | None, tags: tuple[str, ...], no_provenance: bool, **options: Any,  # noqa: A002
) -> None:  # fmt: skip
    """Write a fingerprint: a small file that others can compare with their models without having this one.

    Two fingerprints can be compared if they were made on the same images by the same method. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    from onnxspace.inputs.names import is_fingerprint

    if not is_fingerprint(Path(output)):
        raise OutputError(f"{output} is not a name for a fingerprint. Name a file that ends in .fp as --output.")
    settings, compute = take_method_options(options), take_compute(options)
    method, skip_broken = options.pop("method"), options.pop("skip_broken")
    resolve_settings([method or DEFAULT_METHOD], settings)
    from onnxspace.inputs.methods import Options

    labels = _take_labels(license, tags, leave_out=no_provenance)
    explained = take_one(take_targets(options))
    asked = (images, detail, method, explained) != (None,) * 4 or settings != Options()
    if place is not None and asked:
        raise click.UsageError(
            "--space sets images, method and its options: leave out --images, --method, --detail, --class and the like."
        )
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    announce = PixelTable(quiet=quiet)
    options |= {"pixels": take_pixels(options), "announce": announce}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.fingerprint_file import fingerprint_file
        from onnxspace.workflows.space import Space

        if place is not None:
            given = Space.open(place)
            probes = None
            if probe is not None:
                probes = probes_from(probe, given.protocol.images, seed, given.protocol.size, skip_broken=skip_broken)
            print_remarks(probes, quiet=quiet)
            found = given.fingerprint(
                model, output, device=compute, probes=probes, progress=bar, outputs=not no_outputs, labels=labels, **options
            )
        else:
            probes = print_remarks(probes_from(probe, images, seed, skip_broken=skip_broken), quiet=quiet)
            found = fingerprint_file(
                model, output, probes, method or DEFAULT_METHOD, options=settings, device=compute,
                progress=bar, detail=detail, outputs=not no_outputs, labels=labels, explained=explained, **options,
            )  # fmt: skip
    if not quiet:
        _print_notes(announce.models, output, found)


def _take_labels(word: str | None, tags: Sequence[str], *, leave_out: bool) -> Any:
    """The labels that the options state; None where a fingerprint shall have none."""
    from onnxspace.inputs.labels import accept_labels

    if leave_out and (word or tags):
        raise click.UsageError("--no-provenance leaves out the licence and the tags: give either it or them.")
    return None if leave_out else accept_labels(word, tags)


def _print_notes(models: Sequence[Any], output: str, found: Any) -> None:
    from onnxspace.cli.console import print_note, print_notes
    from onnxspace.cli.text.pixels import assumptions
    from onnxspace.storage.short_text import count

    made, _, warnings = found
    print_notes((*assumptions(models), *(f"warning: {warning}" for warning in warnings)))
    size = Path(output).stat().st_size
    print_note(f"{output}: {size:,} bytes for {count(made.images, 'image')} of {count(made.numbers, 'number')}")
