"""The command `onnxspace explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.faithfulness import (
    check_request,
    faithfulness_options,
    measure_request,
    print_faithfulness,
    take_faithfulness,
)
from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    METHOD_HELP,
    pixel_options,
    shared_options,
    skip_broken_option,
    take_compute,
    take_method_options,
    take_pixels,
    take_targets,
    target_options,
)
from onnxspace.cli.replaced import note_replaced
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, resolve_settings
from onnxspace.inputs.targets import MOST_TOP

if TYPE_CHECKING:
    from onnxspace.report.explanation import Explanation
    from onnxspace.similarity.records import ModelRecord


def _split_outputs(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str | None, tuple[str, ...]]:  # fmt: skip
    """The file of the picture, None where there is none, and values to explain, which end in a bracket."""
    files = [text for text in given if not text.endswith("]")]
    values = tuple(text for text in given if text.endswith("]"))
    return (note_replaced(context, parameter, files[-1]) if files else None), values


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="MODEL... IMAGE...")
@click.option(
    "-o", "--output", "outputs", multiple=True, callback=_split_outputs, metavar="FILE.png|FILE.svg|FILE.html|NAME[INDEX]",
    help="Where to draw the picture, or to write an interactive page. With brackets at its end, it is a value to explain, as --value.",
)  # fmt: skip
@click.option(
    "--probe",
    metavar="DIR",
    help="Folder of further photos, of which as many are taken as fit: 64 on a page and for --faithfulness, 32 in a picture.",
)
@click.option(
    "--method", "methods", type=Names(tuple(METHODS), "method"), multiple=True, default=(DEFAULT_METHOD,), metavar="METHOD",
    show_default=True, help=f"{METHOD_HELP}; repeatable, a column for each.",
)  # fmt: skip
@faithfulness_options
@target_options
@click.option(
    "--top", type=click.IntRange(1, MOST_TOP), metavar="N",
    help="Explain the N most probable classes of each image, a column for each.",
)  # fmt: skip
@click.option("--contrast", is_flag=True, help="Subtract the mean of the other classes from the class.")
@click.option("--overlay", is_flag=True, help="Draw the maps over the images.")
@click.option(
    "--animate", callback=note_replaced, metavar="FILE.gif|FILE.webp|FILE.apng",
    help="Animate the maps of one model at its successive layers; -o draws them on one sheet.",
)  # fmt: skip
@skip_broken_option
@shared_options
@pixel_options
def explain(files: tuple[str, ...], quiet: bool, outputs: tuple[str | None, tuple[str, ...]], **options: Any) -> None:
    """Draw the attribution maps of models, each image beside its maps.

    Models are .onnx files and what `onnxspace convert` takes, all other files are images. The picture has a row per image, and a column per model, method and target; on a page, FILE.html, they are chosen.
    Each map is divided by its own root mean square, so that models can be compared; all maps share one colour scale.
    Without a target, maps explain the encoder; with --class, --top, --value, --region or --box, what these name.
    """
    from onnxspace.exporters.discovery import is_model

    models, images = [file for file in files if is_model(file)], [file for file in files if not is_model(file)]
    if not models or not (images or options["probe"]):
        raise click.UsageError(
            "give at least one model (such as net.onnx or net.pt2) and at least one image, or a folder by --probe."
        )
    output, named = outputs
    options["output"] = output
    asked = take_faithfulness(options)
    options["targets"] = take_targets(options, named, top=options.pop("top"), contrast=options.pop("contrast"))
    if asked is not None:
        _refuse_pictures(options)
    settings, compute = take_method_options(options), take_compute(options)
    resolve_settings(options["methods"], settings)
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import print_written, progress_bar
    from onnxspace.quiet import silence_libraries

    pixels, announce = take_pixels(options), PixelTable(quiet=quiet)
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.explain import explain as run

        if asked is not None:
            check_request(asked, files)
        shared = {**options, "options": settings, "device": compute, "progress": bar, "pixels": pixels, "announce": announce}
        measured = None if asked is None else measure_request(asked, models, images, **_without_pictures(shared))
        shared["announce"] = announce if measured is None else None
        drawn = output is not None or options["animate"] is not None
        found = run(models, images, faithfulness=measured, **shared) if drawn else None
    if found is not None and not quiet:
        _print_notes(found, announce.models)
        for written in (output, options["animate"]):
            if written is not None:
                print_written(written)
    if measured is not None and asked is not None:
        print_faithfulness(measured, asked, quiet=quiet)


def _refuse_pictures(options: Mapping[str, Any]) -> None:
    """Refuse options on pictures that are not drawn where faithfulness is measured."""
    if options["animate"] is not None:
        raise click.UsageError("--faithfulness measures maps at one layer. Leave out --animate.")
    if options["output"] is None and options["overlay"]:
        raise click.UsageError(
            "--overlay is for the picture of maps, which --faithfulness does not draw. Give -o, or leave it out."
        )


def _without_pictures(options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that concern pictures of maps alone."""
    return {name: value for name, value in options.items() if name not in ("output", "overlay", "animate")}


def _without_encoder(model: ModelRecord) -> ModelRecord:
    """The record of a model whose encoder is not explained, without what is assumed of it."""
    from dataclasses import replace

    return replace(model, assumed=tuple(words for words in model.assumed if not words.startswith("encoder ")))


def _print_notes(found: Explanation, models: Sequence[ModelRecord]) -> None:
    from onnxspace.cli.console import print_notes
    from onnxspace.cli.text.pixels import assumptions

    shown = models if found.explains_encoders else [_without_encoder(model) for model in models]
    remarks = [f"note: {remark}" for remark in found.remarks]
    print_notes((*assumptions(shown), *remarks, *(f"warning: {warning}" for warning in found.warnings)))
