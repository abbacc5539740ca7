"""`onnxspace check`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from onnxspace.methods import DEVICES, METHODS

if TYPE_CHECKING:
    from onnxspace.checking.plan import Plan
    from onnxspace.checking.verdict import Verdict


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL.onnx]...")
@click.option("--against", metavar="MODEL.onnx|PRINT.fp|ZOO.space:NAME", help="What the models are held against.")
@click.option(
    "--limit", "limits", multiple=True, metavar="METRIC=NUMBER", help="Least or largest value that passes; repeatable."
)
@click.option("--distinct", is_flag=True, help="The models must not be copies of the other.")
@click.option("--update", is_flag=True, help="Write the baselines, PRINT.fp and notes beside it, instead of checking.")
@click.option("--probe", metavar="DIR", help="Folder of photos to run the models on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of the probe images.")
@click.option("--method", type=click.Choice(tuple(METHODS)), help="Kind of attribution map [default: the baseline's, or elrp].")
@click.option("--encoder", metavar="NAME", help="Tensor or node to cut at [default: auto].")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--limits", "bounds", metavar="memory=8G,cpu=1800,wall=900", help="What one model's process may take.")
@click.option("--config", metavar="FILE", help="What to check, and how [default: onnxspace.toml or pyproject.toml, if there].")
@click.option("--pictures", metavar="DIR", help="Draw the images on which models look at different things.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/check/1).")
@click.option("--quiet", is_flag=True, help="No progress or warnings on stderr; errors still show.")
def check(
    models: tuple[str, ...], against: str | None, limits: tuple[str, ...], distinct: bool, update: bool, as_json: bool, quiet: bool,
    bounds: str | None, config: str | None, pictures: str | None, device: Any, **options: Any,
) -> int:  # fmt: skip
    """Tell whether models are still what they were.

    Each is run in a process of its own, and held against a baseline: what it looks at, what it gives, what its file says.
    Without arguments, everything that [check] of onnxspace.toml or pyproject.toml names. Exit code 0: all as expected, 1: some
    are not, 2: some could not be compared.
    """
    from onnxspace.checking.sandbox import Limits, limits_from

    allowed = Limits() if bounds is None else limits_from(bounds)
    plan, file = _plan(models, against, _numbers(limits), distinct, config, options)
    from onnxspace.checking.run import check as run
    from onnxspace.checking.run import update as write
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        if update:
            found = write(plan, allowed, device=device, config=file, progress=bar)
        else:
            found = run(plan, allowed, device=device, config=file, pictures=pictures, progress=bar)
    return _report(found, as_json=as_json, quiet=quiet, update=update)


def _numbers(limits: tuple[str, ...]) -> dict[str, float | None]:
    made: dict[str, float | None] = {}
    for text in limits:
        name, _, value = text.partition("=")
        try:
            made[name.strip()] = None if value.strip() == "none" else float(value)
        except ValueError:
            raise click.UsageError(f"--limit {text} is no METRIC=NUMBER, such as affinity=0.99.") from None
    return made


def _plan(
    models: tuple[str, ...], against: str | None, limits: dict[str, float | None], distinct: bool, config: str | None,
    options: dict[str, Any],
) -> tuple[Plan, Any]:  # fmt: skip
    """What is to be checked, and the file that says how models are opened."""
    from onnxspace.checking.plan import Plan, find_plan, single

    if bool(models) != (against is not None):
        raise click.UsageError("a model and --against go together; without both, the configuration says what to check.")
    if against is None:
        if limits or distinct or any(options[name] for name in ("encoder", "probe", "images", "seed", "method")):
            raise click.UsageError("these options go with a model and --against; write them into the configuration.")
        return find_plan(config)
    encoder = options.pop("encoder")
    return Plan(single(models, against, limits, distinct, encoder), **options), config


def _report(found: tuple[Verdict, ...], *, as_json: bool, quiet: bool, update: bool) -> int:
    from onnxspace.checking.verdict import SCHEMA, code_of
    from onnxspace.cli import checktext

    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "verdicts": [verdict.to_dict() for verdict in found]}, allow_nan=False))
    for line in checktext.errors(found):
        click.echo(line, err=True)
    if not quiet:
        for line in checktext.warnings(found):
            click.echo(line, err=True)
    if not as_json:
        click.echo("\n".join(checktext.written(found) if update else checktext.verdicts(found)))
    return code_of(found)
