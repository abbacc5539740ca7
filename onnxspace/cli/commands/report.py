"""The command `onnxspace report`."""

from __future__ import annotations

from pathlib import Path

import click

from onnxspace.cli.options import quiet_option
from onnxspace.cli.replaced import note_replaced


@click.command()
@click.argument("source", metavar="ZOO.space|RESULT")
@click.option("-o", "--output", required=True, callback=note_replaced, metavar="FILE.html", help="Where to write the page.")
@click.option("--target", metavar="NAME", help="Show the sources for this model first [default: the first model].")
@click.option(
    "--images",
    type=click.IntRange(0, 64),
    metavar="N",
    default=6,
    show_default=True,
    help="Probe images in the gallery; 0: none.",
)
@click.option("--oracle", metavar="FILE", help="Table of the ground truth, as for evaluate; adds precision curves.")
@click.option("--title", metavar="TEXT", help="Heading of the page [default: the folder's name].")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only models of the space for which it holds; see `onnxspace space list`.",
)
@quiet_option
def report(
    source: str, output: str, target: str | None, images: int, oracle: str | None, title: str | None, where: tuple[str, ...], quiet: bool,
) -> int:  # fmt: skip
    """Write a space, or a result of score --output, as one HTML file.

    The page works offline and requests nothing from any server. It shows the matrix, the tree, a map of the models, ranked
    sources, a gallery of maps, and what was run. It contains probe images: a page about your photos contains some of them.
    Exit code 2 if files of a model are damaged; the page is about the others.
    """
    from onnxspace.cli.console import print_error, print_once, print_warning, print_written, progress_bar
    from onnxspace.quiet import silence_libraries

    damaged: dict[str, None] = {}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.report import check_page_path, open_source, write_report

        check_page_path(Path(output), Path(source), oracle)
        opened = open_source(Path(source), lambda failure: damaged.update({failure.error: None}), where, print_once)
        notes = write_report(opened, output, target=target, images=images, oracle=oracle, title=title, progress=bar)
    print_written(output, quiet=quiet)
    for sentence in damaged:
        print_error(sentence)
    for note in notes:
        print_warning(note, quiet=quiet)
    return 2 if damaged else 0
