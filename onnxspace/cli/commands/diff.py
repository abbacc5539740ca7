"""The command `onnxspace diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxspace.differences.precision import Precision, PrecisionSweep
    from onnxspace.differences.result import LayerRow, ModelDiff

SORTS = ("place", "error", "own-error", "max-error", "cosine", "snr", "overflow", "underflow", "saturated", "range")
STATUSES = ("equal", "relaid", "replaced", "departs", "downstream", "added", "removed")
PRECISIONS = ("int8", "half")
FORMATS = ("text", "json", "markdown")


@click.command()
@click.argument("old", metavar="OLD.onnx")
@click.argument("new", metavar="[NEW.onnx]", required=False)
@click.option("--probe", metavar="DIR", help="Folder of photos to compare on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 64), metavar="N", help="Number of probe images [default: 4].")
@seed_option(PROBE_SEED)
@click.option(
    "--sort",
    type=Names(SORTS, "order"),
    default="own-error",
    show_default=True,
    metavar="KEY",
    help=f"Order of the table: {', '.join(SORTS)}.",
)
@click.option("--top", type=click.IntRange(0), default=12, show_default=True, metavar="N", help="Rows of the table to print.")
@click.option(
    "--status",
    "statuses",
    type=Names(STATUSES, "status"),
    multiple=True,
    metavar="WORD",
    help="Rows of this status only, such as departs; repeatable.",
)
@click.option("--match", default="", metavar="TEXT", help="Rows only that have TEXT in their names or operators.")
@click.option("--csv", "table", callback=note_replaced, metavar="FILE.csv", help="Write all rows of the table.")
@click.option(
    "-o",
    "--output",
    callback=note_replaced,
    metavar="FILE.html",
    help="Write a page that shows both graphs side by side, offline.",
)
@click.option("--maps/--no-maps", default=True, show_default=True, help="Attribution maps of a few images on the page.")
@click.option("--format", "shown", type=Names(FORMATS, "format"), default="text", show_default=True, help="What to print.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/diff/1): --format json.")
@click.option(
    "--precision",
    type=Names(PRECISIONS, "precision"),
    metavar="NAME",
    help="Instead, try which layers of OLD should stay in float where others are rounded: int8 or half. NEW may be left out.",
)
@click.option(
    "--keep-within",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="With --precision: the relative error of the outputs that is allowed [default: 0.05].",
)
@pixel_options
@threads_option
@limits_option
@skip_broken_option
@click.option("--config", metavar="FILE", help="Names and preprocessing per model [default: onnxspace.toml, if there].")
@quiet_option
def diff(
    old: str, new: str | None, sort: str, top: int, statuses: tuple[str, ...], match: str, table: str | None, shown: str, as_json: bool,
    precision: Precision | None, keep_within: float | None, quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Say what changed from the model OLD to the model NEW.

    Nodes of both are matched by the values that they compute on the same images, then by weights, names and places. Each is equal,
    replaced by others, changed, added or removed; weights are equal, rounded, pruned, trained and so on. Exit code 0: both compute the same, 1: they differ,
    2: they could not be compared. A model may also be any source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    from onnxspace.cli.console import print_notes, print_written

    if precision is not None:
        if shown == "markdown":
            raise click.UsageError("--precision prints text or JSON. Leave out --format markdown.")
        if new is None and options["output"] is not None:
            raise click.UsageError("A page is on two models. Give NEW too, or leave out --output.")
        _check_table(table, old, new)
        rounded = None if new is None else _compare(old, new, quiet=quiet, **options)
        swept = _sweep(old, precision, keep_within, rounded, quiet=quiet, **options)
        if options["output"] is not None:
            print_written(options["output"], quiet=quiet)
        _advise(swept, top, table, "json" if as_json else shown)
        return 0
    if new is None or keep_within is not None:
        raise click.UsageError("Give two models to compare; --keep-within, and a single model, need --precision int8 or half.")
    _check_table(table, old, new)
    found = _compare(old, new, quiet=quiet, **options)
    from onnxspace.differences.table import format_table, select_rows

    rows = select_rows(found.layers, sort, statuses=statuses, match=match)
    if table is not None:
        _write(table, format_table(rows))
    print_notes((f"warning: {warning}" for warning in found.warnings), quiet=quiet)
    if options["output"] is not None:
        print_written(options["output"], quiet=quiet)
    click.echo(_format(found, rows, top, "json" if as_json else shown))
    return 0 if found.verdict == "same" else 1


def _compare(old: str, new: str, *, quiet: bool, **options: Any) -> ModelDiff:
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    options |= {"pixels": take_pixels(options), "threads": options["threads"] or 0}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.differences.run import DEFAULT_IMAGES, diff

        skip_broken = options.pop("skip_broken")
        probe, images, seed = (options.pop(name) for name in ("probe", "images", "seed"))
        given = probes_from(probe, images or DEFAULT_IMAGES, seed, skip_broken=skip_broken)
        return diff(old, new, print_remarks(given, quiet=quiet), progress=bar, **options)


def _advise(swept: PrecisionSweep, top: int, table: str | None, shown: str) -> None:
    """Print which layers should stay in float, and write a table of them."""
    from onnxspace.cli.text.precision import precision_lines
    from onnxspace.storage.csv_text import format_csv

    if table is not None:
        names = ("name", "op", "alone", "keep", "stored")
        _write(table, format_csv([names, *([getattr(layer, name) for name in names] for layer in swept.layers)]))
    click.echo(json.dumps(swept.to_dict(), allow_nan=False) if shown == "json" else "\n".join(precision_lines(swept, top)))


def _sweep(
    path: str, precision: Precision, within: float | None, found: ModelDiff | None, *, quiet: bool, **options: Any
) -> PrecisionSweep:
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    options = {name: value for name, value in options.items() if name not in ("output", "maps")}
    options |= {"pixels": take_pixels(options), "threads": options["threads"] or 0}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        from onnxspace.differences.sweep import DEFAULT_IMAGES, DEFAULT_WITHIN, sweep_precision

        skip_broken = options.pop("skip_broken")
        probe, images, seed = (options.pop(name) for name in ("probe", "images", "seed"))
        given = print_remarks(probes_from(probe, images or DEFAULT_IMAGES, seed, skip_broken=skip_broken), quiet=quiet)
        share = DEFAULT_WITHIN if within is None else within
        return sweep_precision(path, precision, given, keep_within=share, found=found, progress=bar, **options)


def _check_table(table: str | None, *models: str | None) -> None:
    """Refuse a table that can't be written, or is one of the models, before any work is done."""
    from onnxspace.report.explanation import check_picture_path

    if table is not None:
        check_picture_path(Path(table), [Path(model) for model in models if model is not None], "--csv", (".csv",))


def _write(path: str, text: str) -> None:
    from onnxspace.storage.atomic import whole_file

    with whole_file(Path(path)) as partial:
        partial.write_text(text, "utf-8", "backslashreplace")


def _format(found: ModelDiff, rows: Sequence[LayerRow], top: int, shown: str) -> str:
    from onnxspace.cli.text.diff import report_lines
    from onnxspace.differences.markdown import format_markdown

    if shown == "json":
        return json.dumps(found.to_dict(), allow_nan=False)
    if shown == "markdown":
        return format_markdown(found, rows[:top]).rstrip("\n")
    return "\n".join(report_lines(found, rows, top))
