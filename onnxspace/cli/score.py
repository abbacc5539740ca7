"""`onnxspace score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from onnxspace.cli.options import computing, probes_from, shared, taken
from onnxspace.methods import DEFAULT_METHOD, METHODS, settle


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL.onnx...")
@click.option("--probe", metavar="DIR", help="Folder of photos to explain the models on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option(
    "--method", type=click.Choice(tuple(METHODS)), default=DEFAULT_METHOD, show_default=True, help="Kind of attribution map."
)
@shared
@click.option("--target", metavar="NAME", help="Rank sources for this model only.")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the probe images.")
@click.option("--output", metavar="DIR", help="Keep maps, matrix, rankings and a picture in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/score/1).")
def score(
    models: tuple[str, ...], probe: str | None, images: int | None, seed: int, target: str | None, as_json: bool,
    quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Compare models by what they look at.

    Every model is explained on the same unlabelled images. The affinity of two models is the mean cosine of their maps:
    larger means that one is the better start for the other's task.
    """
    if len(models) < 2:
        raise click.UsageError("give two models or more: one alone has nothing to be compared with.")
    told, compute = taken(options), computing(options)
    settle([options["method"]], told)
    _check_output(options["output"])
    target = None if target is None else _target_name(target, models, options["config"])
    from onnxspace.cli.console import progress_bar, say_what_is_kept, silence_libraries

    with say_what_is_kept(), silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.pipeline import score as run

        result = run(models, probes_from(probe, images, seed), options=told, device=compute, progress=bar, **options)
    _report(result, target, as_json=as_json, quiet=quiet)
    return 2 if result.failed else 0


def _target_name(target: str, models: tuple[str, ...], config: str | None) -> str:
    """The target's name, refused before any work is done where no model is called so."""
    from onnxspace.config import find_config
    from onnxspace.naming import model_names, target_name

    paths = [Path(model) for model in models]
    return target_name(target, paths, model_names(paths, find_config(config)))


def _check_output(output: str | None) -> None:
    """Refuse a folder that holds something else before any work is done."""
    if output is not None:
        from onnxspace.report.folder import refuse_strangers

        refuse_strangers(Path(output))


def _report(result: Any, target: str | None, *, as_json: bool, quiet: bool) -> None:
    from onnxspace.cli import text

    for failure in result.failed:
        click.echo(f"onnxspace: {text.one_line(failure.error)}", err=True)
    if not quiet:
        for line in (*text.assumptions(result), *text.warnings(result)):
            click.echo(line, err=True)
    ranked = [name for name in result.names if target in (None, name)]
    if as_json:
        click.echo(json.dumps(result.to_dict(ranked), allow_nan=False))
    elif result.models:
        click.echo("\n".join(text.matrix(result)) + "\n\n" + "\n".join(text.rankings(result, ranked)))
