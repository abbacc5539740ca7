"""The command `onnxspace layers`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    limits_option,
    pixel_options,
    probes_from,
    quiet_option,
    skip_broken_option,
    take_pixels,
    threads_option,
)
from onnxspace.cli.replaced import note_replaced
from onnxspace.cli.seeds import PROBE_SEED, seed_option
from onnxspace.inputs.execution import DEVICES, PRECISIONS, Compute
from onnxspace.inputs.methods import METHODS, Options

if TYPE_CHECKING:
    from onnxspace.scores.layer_matrix import LayerMatrix
    from onnxspace.scores.layer_table import Layer, LayerTable

_METHODS = tuple(name for name, spec in METHODS.items() if spec.way in ("product", "absolute"))


@click.command()
@click.argument("source", metavar="SOURCE.onnx")
@click.argument("target", metavar="TARGET.onnx")
@click.option(
    "--by", multiple=True, type=Names(("cka", "predictivity"), "score"), metavar="SCORE",
    help="Compare every layer of SOURCE with every layer of TARGET: by cka, or by predictivity of TARGET's from SOURCE's; repeatable.",
)  # fmt: skip
@click.option("--probe", metavar="DIR", help="Folder of photos to compare on; without it, generated images.")
@click.option("--images", type=click.IntRange(3, 100_000), metavar="N", help="Number of probe images [default: 64].")
@seed_option(PROBE_SEED)
@click.option(
    "--method",
    type=Names(_METHODS, "method"),
    default="gradient-x-input",
    show_default=True,
    metavar="METHOD",
    help=f"Kind of attribution map: {', '.join(_METHODS)}.",
)
@click.option(
    "--baseline",
    metavar="WORD|IMAGE",
    help="zero (of the network's input), mean, black, blur, or an image file [default: zero].",
)
@click.option(
    "--lambda",
    "weight",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="NUMBER",
    help="Weight of S_E (which images are similar) relative to S_V (what counts in each).",
)
@click.option("--encoder", metavar="NAME", help="Tensor or node of the target to compare with [default: auto].")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option(
    "--device",
    type=Names(DEVICES, "device"),
    default="auto",
    show_default=True,
    help="Where maps are computed; auto takes the GPUs that Torch sees.",
)
@click.option(
    "--precision",
    type=Names(PRECISIONS, "precision"),
    default="float32",
    show_default=True,
    help="Precision of matrix products.",
)
@pixel_options
@threads_option
@limits_option
@skip_broken_option
@click.option("--config", metavar="FILE", help="Names, encoders, preprocessing per model [default: onnxspace.toml, if there].")
@click.option(
    "--output", "-o", callback=note_replaced, metavar="FILE.png", help="Draw the scores by layer; with --by, also FILE.svg."
)
@click.option("--csv", "table", callback=note_replaced, metavar="FILE.csv", help="With --by, write a row per pair of layers.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/layers/1, or layer-pairs/1 with --by)."
)
@quiet_option
def layers(
    source: str, target: str, as_json: bool, quiet: bool, output: str | None, table: str | None, by: tuple[str, ...], **options: Any
) -> int:  # fmt: skip
    """Find the layer of SOURCE to start from for TARGET's task, or compare all layers of both.

    Every layer of the source is compared with the encoder of the target, on the same unlabelled images: what counts in each
    image (S_V), and which images are similar (S_E). With --by, every layer is compared with every layer. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    if by:
        return _compare_all((source, target), (output, table), as_json=as_json, by=by, quiet=quiet, **options)
    if table is not None:
        raise click.UsageError("--csv is for pairs of layers. Add --by cka.")
    if output is not None:
        _refuse_output(output, _list_read((source, target), options["probe"]))
    found = _compute_table(source, target, quiet=quiet, **options)
    if output is not None:
        _draw(found, output)
    if not quiet:
        _print_notes(found)
    from onnxspace.cli.console import print_error, print_lines
    from onnxspace.cli.text.unranked import explain_layers

    if (lacking := explain_layers(found)) is not None:
        print_error(lacking)
    if as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    elif lacking is None:
        print_lines(table_lines(found))
    return 0 if lacking is None else 2


#: Options of maps, which scores of pairs of layers do not take, as parameters and as they are written.
_OF_MAPS = {
    "method": "--method", "baseline": "--baseline", "weight": "--lambda", "encoder": "--encoder", "batch_size": "--batch-size",
    "device": "--device", "precision": "--precision",
}  # fmt: skip


def _compare_all(models: tuple[str, str], files: tuple[str | None, str | None], *, as_json: bool, **options: Any) -> int:
    """Compare all layers, and write `files`: the picture and the table, if they are named."""
    from onnxspace.cli.text.layer_pairs import list_notes, list_partners

    _refuse_options_of_maps()
    _check_files(*files, _list_read(models, options["probe"]))
    found = _compute_matrix(*models, **{name: value for name, value in options.items() if name not in _OF_MAPS})
    _write_files(found, *files)
    from onnxspace.cli.console import print_lines, print_notes

    print_notes(list_notes(found), quiet=options["quiet"])
    if as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    else:
        print_lines(list_partners(found))
    return 0


def _refuse_options_of_maps() -> None:
    context = click.get_current_context()
    for name, flag in _OF_MAPS.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flag} is an option of maps, which --by does not compute. Leave one of them out.")


def _list_read(models: Sequence[str], probe: str | None) -> list[Path]:
    """The files that are read: the models, and the photos of the folder `probe`."""
    from onnxspace.inputs.photo_folder import list_photos

    return [*map(Path, models), *([] if probe is None else list_photos(Path(probe)).files)]


def _check_files(output: str | None, table: str | None, read: Sequence[Path]) -> None:
    from onnxspace.report.explanation import check_picture_path

    if output is not None:
        check_picture_path(Path(output), read)
    if table is not None:
        check_picture_path(Path(table), read, "--csv", (".csv",))


def _write_files(found: LayerMatrix, output: str | None, table: str | None) -> None:
    from onnxspace.storage.atomic import whole_file

    if output is not None:
        from onnxspace.report.layer_matrix import draw_layer_matrix

        with whole_file(Path(output)) as partial:
            draw_layer_matrix(found, partial, "svg" if output.lower().endswith(".svg") else "png")
    if table is not None:
        with whole_file(Path(table)) as partial:
            partial.write_text(found.to_csv(), "utf-8")


def _compute_matrix(source: str, target: str, *, by: Sequence[str], quiet: bool, **options: Any) -> LayerMatrix:
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet), "threads": options["threads"] or 0}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.layer_matrix import compare_layers

        skip_broken = options.pop("skip_broken")
        given = probes_from(*(options.pop(name) for name in ("probe", "images", "seed")), skip_broken=skip_broken)
        return compare_layers(source, target, print_remarks(given, quiet=quiet), by=cast("Any", by), progress=bar, **options)


def _refuse_output(output: str, read: Sequence[Path]) -> None:
    """Refuse a picture that can't be drawn before any work is done."""
    from onnxspace.report.explanation import check_picture_path

    check_picture_path(Path(output), read, kinds=(".png",))


def _compute_table(
    source: str,
    target: str,
    *,
    quiet: bool,
    baseline: str | None,
    device: Any,
    precision: Any,
    threads: int | None,
    **options: Any,
) -> LayerTable:
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.layers import layers as run

        skip_broken = options.pop("skip_broken")
        given = probes_from(*(options.pop(name) for name in ("probe", "images", "seed")), skip_broken=skip_broken)
        return run(
            source,
            target,
            print_remarks(given, quiet=quiet),
            options=Options(baseline=baseline),
            device=Compute(device, precision, threads=threads or 0),
            progress=bar,
            **options,
        )


def _draw(found: LayerTable, output: str) -> None:
    from onnxspace.report.layers import draw_layers
    from onnxspace.storage.atomic import whole_file

    with whole_file(Path(output)) as partial:
        draw_layers(found, partial)


def _print_notes(found: LayerTable) -> None:
    from onnxspace.cli.console import print_notes
    from onnxspace.cli.text.pixels import assumptions

    print_notes((*assumptions((found.source, found.target)), *(f"warning: {warning}" for warning in found.warnings)))


def table_lines(found: LayerTable) -> Iterator[str]:
    """Lines of the table: the layers from image to output, an arrow at the best one, and how to start from it."""
    from onnxspace.cli.text.lines import one_line, table_width, wrap
    from onnxspace.model.records import DEVIATIONS
    from onnxspace.storage.printable import shorten
    from onnxspace.storage.short_text import describe_images

    aim = f"{found.target.name} at {found.target.encoder}"
    yield from wrap(
        one_line(f"Layers of {found.source.name} against {aim}: {found.method_words} on {describe_images(found.probe)}")
    )
    yield from wrap(f"S = S_V + {found.weight:g} · S_E: what counts in each image, and which images are similar")
    yield ""
    yield "    trained   work     S_V     S_E       S  layer"
    for layer in found.layers:
        arrow = "→" if layer == found.best else " "
        own = " (its encoder)" if layer.tensor == found.source.encoder.removesuffix(DEVIATIONS) else ""
        count = f"{layer.trained_below}/{found.trained}"
        numbers = "  ".join(_format_number(value) for value in (layer.nodes, layer.edges, layer.score))
        facts = f"{arrow} {count:>9} {layer.share_below:6.1%}  {numbers}  "
        name = shorten(layer.tensor, table_width() - len(facts))
        yield from wrap(f"{name}{_format_shape(layer)}{own}", facts, " " * len(facts), table=True)
    yield ""
    yield from wrap(one_line(found.advice))


def _format_number(value: float | None) -> str:
    return "   n/a" if value is None else f"{round(value, 3) + 0.0:6.3f}"


def _format_shape(layer: Layer) -> str:
    return f" [{'×'.join(map(str, layer.shape))}]" if layer.shape else ""
