"""The command `onnxspace explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.faithfulness import (
    check_request,
    faithfulness_options,
    measure_request,
    print_faithfulness,
    take_faithfulness,
)
from onnxspace.cli.options import (
    pixel_options,
    shared_options,
    skip_broken_option,
    take_compute,
    take_method_options,
    take_pixels,
)
from onnxspace.cli.replaced import note_replaced
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, resolve_settings

if TYPE_CHECKING:
    from onnxspace.report.explanation import Explanation
    from onnxspace.similarity.records import ModelRecord


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="MODEL... IMAGE...")
@click.option("-o", "--output", callback=note_replaced, metavar="FILE.png", help="Where to draw the picture.")
@click.option(
    "--method", "methods", type=click.Choice(tuple(METHODS)), multiple=True, default=(DEFAULT_METHOD,), show_default=True,
    help="Kind of attribution map; repeatable, a column for each.",
)  # fmt: skip
@faithfulness_options
@skip_broken_option
@shared_options
@pixel_options
def explain(files: tuple[str, ...], quiet: bool, **options: Any) -> None:
    """Draw the attribution maps of models, each image beside its maps.

    Models are .onnx files and what `onnxspace convert` takes, all other files are images. The picture has a row per image, and a column per model and method.
    Each map is divided by its own root mean square, so that models can be compared; all maps share one colour scale.
    """
    from onnxspace.exporters.discovery import is_model

    models, images = [file for file in files if is_model(file)], [file for file in files if not is_model(file)]
    if not models or not images:
        raise click.UsageError("give at least one model (such as net.onnx or net.pt2) and at least one image.")
    asked = take_faithfulness(options)
    settings, compute = take_method_options(options), take_compute(options)
    resolve_settings(options["methods"], settings)
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import progress_bar
    from onnxspace.quiet import silence_libraries

    pixels, announce = take_pixels(options), PixelTable(quiet=quiet)
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.explain import explain as run

        if asked is not None:
            check_request(asked, files)
        shared = {**options, "options": settings, "device": compute, "progress": bar, "pixels": pixels, "announce": announce}
        found = None if options["output"] is None else run(models, images, **shared)
        del shared["output"]
        shared["announce"] = announce if found is None else None
        measured = None if asked is None else measure_request(asked, models, images, **shared)
    if found is not None and not quiet:
        _print_notes(found, announce.models)
    if measured is not None and asked is not None:
        print_faithfulness(measured, asked, quiet=quiet)


def _print_notes(found: Explanation, models: Sequence[ModelRecord]) -> None:
    from onnxspace.cli.text.lines import one_line
    from onnxspace.cli.text.pixels import assumptions

    for line in assumptions(models):
        click.echo(line, err=True)
    for line in found.warnings:
        click.echo(f"warning: {one_line(line)}", err=True)
