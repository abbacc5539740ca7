"""The command `onnxspace evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.names import Names
from onnxspace.cli.options import quiet_option
from onnxspace.cli.replaced import note_replaced
from onnxspace.cli.seeds import seed_option

if TYPE_CHECKING:
    from onnxspace.evaluation import Table

_MOST_DRAWS = 10_000


@click.command()
@click.option("--oracle", required=True, metavar="FILE", help="Table of the ground truth: targets in rows, sources in columns.")
@click.option(
    "--predicted", multiple=True, metavar="FILE", help="Table of a ranking to evaluate, such as affinity.csv; repeatable."
)
@click.option("--known", metavar="FILE", help="Results of the models on other datasets, for the static baseline.")
@click.option("--correlations", metavar="FILE", help="Representation correlations of models, for the priority curve.")
@click.option(
    "--relevant",
    metavar="N",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Number of best sources of a target that count as relevant.",
)
@click.option("--alias", metavar="FILE", help="Lines `other name,name`, for tables with other names.")
@click.option("--lower-is-better", is_flag=True, help="Values of --oracle and --known are losses or ranks.")
@click.option(
    "--linkage",
    type=Names(("average", "single"), "linkage"),
    default="average",
    show_default=True,
    help="Linkage of the trees.",
)
@click.option(
    "--resamples",
    metavar="N",
    type=click.IntRange(1, _MOST_DRAWS),
    default=1000,
    show_default=True,
    help="Resamples of the targets, for intervals.",
)
@seed_option("Number that the resamples are drawn by")
@click.option(
    "--output",
    callback=note_replaced,
    metavar="DIR|FILE.png|FILE.svg",
    help="Write numbers and pictures to a folder, or draw the curves.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/evaluate/1).")
@quiet_option
def evaluate(
    oracle: str, predicted: tuple[str, ...], known: str | None, output: str | None, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Evaluate rankings against the ground truth.

    Prints precision and recall of the best sources, rank correlations and regret, each with an interval over targets; a target
    is never its own source. Larger values are better in every table, unless --lower-is-better. With --known, the static
    baseline is evaluated too: models ranked by their mean rank on other datasets.
    """
    if not predicted and known is None:
        raise click.UsageError("give a --predicted table, a --known one, or both.")
    alias, correlations, lower_is_better = (options.pop(name) for name in ("alias", "correlations", "lower_is_better"))
    inputs = [Path(path) for path in (oracle, *predicted, known, correlations, alias) if path is not None]
    if output is not None:
        from onnxspace.evaluation.output import refuse_unfit

        refuse_unfit(Path(output), inputs)
    from onnxspace.cli.console import print_lines, print_warning
    from onnxspace.cli.text.evaluate import report
    from onnxspace.evaluation import evaluate as run

    names = _read_aliases(alias)
    truth, others = (
        _read_table(oracle, names, lower_is_better),
        None if known is None else _read_table(known, names, lower_is_better),
    )
    found = run(
        truth, [_read_table(path, names) for path in predicted], others,
        correlations=None if correlations is None else _read_table(correlations, names),
        draws=options.pop("resamples"), **options,
    )  # fmt: skip
    if output is not None:
        from onnxspace.evaluation.output import write_evaluation

        write_evaluation(found, Path(output))
    for warning in found.warnings:
        print_warning(warning, quiet=quiet)
    print_lines([json.dumps(found.to_dict(), allow_nan=False)] if as_json else report(found))


def _read_aliases(alias: str | None) -> dict[str, str]:
    from onnxspace.evaluation.reading import read_aliases

    return {} if alias is None else read_aliases(Path(alias))


def _read_table(path: str, aliases: Mapping[str, str], lower_is_better: bool = False) -> Table:
    from onnxspace.evaluation import Table

    found = Table.read(path).renamed(aliases)
    return found.negated() if lower_is_better and not (found.ordinal or found.losses) else found
