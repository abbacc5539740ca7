"""The command `onnxspace fingerprint`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxspace.cli.options import number_options, opening_options, probes_from, take_compute, take_method_options
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, resolve_settings


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option("-o", "--output", required=True, metavar="FILE.fp", help="Where to write the fingerprint.")
@click.option(
    "--space", "place", metavar="ZOO.space", help="Explain the model as this space does: its images, method and options."
)
@click.option("--probe", metavar="DIR", help="Folder of photos to explain the model on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the probe images.")
@click.option("--method", type=click.Choice(tuple(METHODS)), help=f"Kind of attribution map [default: {DEFAULT_METHOD}].")
@number_options
@opening_options
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
def fingerprint(
    model: str, output: str, place: str | None, probe: str | None, images: int | None, seed: int, quiet: bool, **options: Any
) -> None:
    """Write a fingerprint: a small file that others can compare with their models without having this one.

    Two fingerprints can be compared if they were made on the same images by the same method. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    settings, compute = take_method_options(options), take_compute(options)
    method = options.pop("method")
    resolve_settings([method or DEFAULT_METHOD], settings)
    from onnxspace.inputs.methods import Options

    if place is not None and (images is not None or method is not None or settings != Options()):
        raise click.UsageError("--space sets images, method and its options: leave out --images, --method and the like.")
    from onnxspace.cli.console import progress_bar
    from onnxspace.quiet import silence_libraries

    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.space import Space, fingerprint_file

        if place is not None:
            given = Space.open(place)
            probes = None if probe is None else probes_from(probe, given.protocol.images, seed, given.protocol.size)
            found = given.fingerprint(model, output, device=compute, probes=probes, progress=bar, **options)
        else:
            found = fingerprint_file(
                model, output, probes_from(probe, images, seed), method or DEFAULT_METHOD, options=settings, device=compute,
                progress=bar,
                **options,
            )  # fmt: skip
    if not quiet:
        _print_notes(model, output, found)


def _print_notes(model: str, output: str, found: Any) -> None:
    from onnxspace.cli.text.score import one_line

    made, assumed, warnings = found
    if assumed:
        click.echo(f"assumed for {one_line(made.name)}: {one_line('; '.join(assumed))}", err=True)
    for warning in warnings:
        click.echo(f"warning: {one_line(warning)}", err=True)
    size = Path(output).stat().st_size
    click.echo(f"{one_line(output)}: {size:,} bytes for {made.images} images of {made.numbers} numbers", err=True)
