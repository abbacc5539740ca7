"""`onnxspace score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from onnxspace.cli.options import (
    cluster,
    computing,
    known_ranks,
    known_results,
    known_table,
    memory,
    probes_from,
    shared,
    take_method_options,
    weighing,
)
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS
from onnxspace.scores.selection import ATTRIBUTION, DEFAULT_WEIGHT, PREDICTIVITY, names, select_scores


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL.onnx|PRINT.fp...")
@click.option("--probe", metavar="DIR", help="Folder of photos to explain the models on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option("--method", type=click.Choice(tuple(METHODS)), help=f"Kind of attribution map [default: {DEFAULT_METHOD}].")
@click.option(
    "--by", type=click.Choice(names()), multiple=True, metavar="SCORE",
    help=f"{', '.join(names())}; repeatable, the first one's matrix is shown, and ranks "
    f"[default: the matrix of {ATTRIBUTION}, sources ranked by {PREDICTIVITY}].",
)  # fmt: skip
@click.option(
    "--lambda", "weight", callback=weighing, metavar="NUMBER|auto",
    help=f"Weight of features in depara; auto gives both an equal say [default: {DEFAULT_WEIGHT}].",
)  # fmt: skip
@shared
@click.option("--target", metavar="NAME", help="Rank sources for this model only.")
@click.option("--certainty", is_flag=True, help="Say how sure the rankings are, by drawing the images again.")
@known_results
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@cluster
@memory
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Seed of the probe images [default: 0].")
@click.option("--output", metavar="DIR", help="Keep maps, matrix, rankings and a picture in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/score/1).")
def score(
    models: tuple[str, ...], probe: str | None, images: int | None, seed: int | None, target: str | None, as_json: bool,
    certainty: bool, known: str | None, quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Compare models by what they look at, or by what they compute.

    Every model is explained on the same unlabelled images. The affinity of two models is the mean cosine of their maps: how
    alike they are in what they look at. The sources for a model's task are ranked by how much of its outputs can be predicted
    from their features. Fingerprints (.fp) stand for models that are not here; images and method that are not named are
    then those of the first fingerprint, and sources are ranked by affinity. Other scores compare what models compute at
    their encoders.
    """
    if len(models) < 2:
        raise click.UsageError("give two models or more: one alone has nothing to be compared with.")
    told, compute, elsewhere = take_method_options(options), computing(options), known_table(known)
    select_scores(options["by"], options["weight"], options["method"] or DEFAULT_METHOD, told)
    _check_output(options["output"])
    target = None if target is None else _target_name(target, models, options["config"])
    from onnxspace.cli.console import progress_bar, say_what_is_kept
    from onnxspace.quiet import silence_libraries

    with say_what_is_kept(), silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.workflows.score import score as run

        given = None if (probe, images, seed) == (None, None, None) else probes_from(probe, images, seed or 0)
        sure = certainty and ([target] if target is not None else True)
        result = run(models, given, options=told, device=compute, certainty=sure, progress=bar, **options)
    _report(result, target, elsewhere, as_json=as_json, quiet=quiet)
    return 2 if result.failed or result.unscored else 0


def _target_name(target: str, models: tuple[str, ...], config: str | None) -> str:
    """The target's name, refused before any work is done where no model is called so."""
    from onnxspace.inputs.config import find_config
    from onnxspace.inputs.names import model_names, target_name

    paths = [Path(model) for model in models]
    return target_name(target, paths, model_names(paths, find_config(config)))


def _check_output(output: str | None) -> None:
    """Refuse a folder that holds something else before any work is done."""
    if output is not None:
        from onnxspace.report.result_folder import refuse_strangers

        refuse_strangers(Path(output))


def _report(result: Any, target: str | None, elsewhere: Any, *, as_json: bool, quiet: bool) -> None:
    from onnxspace.cli.text import score as text

    for failure in result.failed:
        click.echo(f"onnxspace: {text.one_line(failure.error)}", err=True)
    if not quiet:
        for line in (*text.assumptions(result), *text.warnings(result)):
            click.echo(line, err=True)
    ranked = [name for name in result.names if target in (None, name)]
    ranks = known_ranks(elsewhere, ranked, result.names)
    if as_json:
        click.echo(json.dumps({**result.to_dict(ranked), **({"known": ranks} if ranks else {})}, allow_nan=False))
    elif result.models:
        shown = (*text.matrix(result), *text.score_notes(result), *text.doubt(result), "", *text.rankings(result, ranked))
        click.echo("\n".join((*shown, *(text.elsewhere(ranks) if ranks else ()))))
