"""`onnxspace check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnxspace.inputs.methods import DEVICES, METHODS

if TYPE_CHECKING:
    from onnxspace.checking.plan import CheckPlan
    from onnxspace.checking.sandbox import Limits
    from onnxspace.checking.verdict import Verdict


#: The forms of `onnxspace.checking.child.forms`, which needs more than help does.
FORMS = ("opset", "optimised", "half", "int8")


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL.onnx]...")
@click.option("--against", metavar="MODEL.onnx|PRINT.fp|ZOO.space:NAME", help="What the models are held against.")
@click.option(
    "--limit", "limits", multiple=True, metavar="METRIC=NUMBER", help="Least or largest value that passes; repeatable."
)
@click.option("--distinct", is_flag=True, help="The models must not be copies of the other.")
@click.option("--update", is_flag=True, help="Write the baselines, PRINT.fp and notes beside it, instead of checking.")
@click.option(
    "--calibrate", is_flag=True, help="Write each model in other forms, measure them, and print limits that they pass."
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    metavar="NAME",
    help="Form to calibrate with: opset, optimised, half, int8; repeatable [default: all but int8].",
)
@click.option("--probe", metavar="DIR", help="Folder of photos to run the models on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of the probe images.")
@click.option("--method", type=click.Choice(tuple(METHODS)), help="Kind of attribution map [default: the baseline's, or elrp].")
@click.option("--encoder", metavar="NAME", help="Tensor or node to cut at [default: auto].")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--limits", "bounds", metavar="memory=8G,cpu=1800,wall=900", help="What one model's process may take.")
@click.option("--config", metavar="FILE", help="What to check, and how [default: onnxspace.toml or pyproject.toml, if there].")
@click.option("--pictures", metavar="DIR", help="Draw the images on which models look at different things.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[=FILE]",
    help="json, junit, sarif, github or markdown instead of text, or into a file; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/check/1): --format json.")
@click.option("--quiet", is_flag=True, help="No progress or warnings on stderr; errors still show.")
def check(
    models: tuple[str, ...], against: str | None, limits: tuple[str, ...], distinct: bool, update: bool,
    calibrate: bool, forms: tuple[str, ...], formats: tuple[str, ...], as_json: bool, quiet: bool, bounds: str | None, config: str | None, pictures: str | None, device: Any, **options: Any,
) -> int:  # fmt: skip
    """Tell whether models are still what they were.

    Each is run in a process of its own, and held against a baseline: what it looks at, what it gives, what its file says.
    Without arguments, everything that [check] of onnxspace.toml or pyproject.toml names. Exit code 0: all as expected, 1: some
    are not, 2: some could not be compared.
    """
    from onnxspace.checking.sandbox import Limits, limits_from

    shown, files = _formats((*formats, "json") if as_json else formats)
    allowed = Limits() if bounds is None else limits_from(bounds)
    if calibrate and update:
        raise click.UsageError("--calibrate and --update are two things: calibrate first.")
    _check_forms(forms, calibrate)
    against = models[0] if calibrate and models and against is None else against
    plan, file = _plan(models, against, _numbers(limits), distinct, config, options)
    if calibrate:
        return _calibrate(plan, forms, allowed, device, file, quiet=quiet, as_json=shown == "json")
    from onnxspace.checking.run import check as run
    from onnxspace.checking.run import update as write
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        if update:
            found = write(plan, allowed, device=device, config=file, progress=bar)
        else:
            found = run(plan, allowed, device=device, config=file, pictures=pictures, progress=bar)
    _write(found, files)
    return _report(found, shown, quiet=quiet, update=update)


def _check_forms(forms: tuple[str, ...], calibrate: bool) -> None:
    if forms and not calibrate:
        raise click.UsageError("--form goes with --calibrate.")
    for name in forms:
        if name not in FORMS:
            raise click.UsageError(f"--form {name} is none of {', '.join(FORMS)}.")


def _calibrate(
    plan: CheckPlan, forms: tuple[str, ...], allowed: Limits, device: Any, file: Any, *, quiet: bool, as_json: bool
) -> int:  # fmt: skip
    import json

    from onnxspace.checking.calibrate import USUAL, as_toml, calibrate
    from onnxspace.cli.console import progress_bar
    from onnxspace.cli.text import check as checktext

    with progress_bar(enabled=not quiet) as bar:
        found = calibrate(plan, forms or USUAL, allowed, device=device, config=file, progress=bar)
    for line in checktext.calibration_errors(found):
        click.echo(line, err=True)
    if as_json:
        click.echo(
            json.dumps({"schema": "onnxspace/calibration/1", "artifacts": [vars(one) for one in found]}, allow_nan=False)
        )
    else:
        if not quiet:
            for line in checktext.calibrations(found):
                click.echo(line, err=True)
        click.echo(as_toml(found), nl=False)
    return 2 if any(one.failed for one in found) else 0


def _formats(asked: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """The form of standard output, None for text, and files with the form of each."""
    from onnxspace.checking.formats import FORMATS

    pairs = [(name, file) for name, _, file in (one.partition("=") for one in asked)]
    for name, _ in pairs:
        if name not in FORMATS:
            raise click.UsageError(f"--format {name} is none of {', '.join(FORMATS)}.")
    shown = {name for name, file in pairs if not file}
    if len(shown) > 1:
        raise click.UsageError(f"only one of {' and '.join(sorted(shown))} can go to standard output; name a file: junit=FILE.")
    return next(iter(shown), None), {file: name for name, file in pairs if file}


def _write(found: tuple[Verdict, ...], files: dict[str, str]) -> None:
    from pathlib import Path

    from onnxspace.checking.formats import FORMATS
    from onnxspace.storage.atomic import whole_file

    for file, name in files.items():
        with whole_file(Path(file)) as partial:
            partial.write_text(FORMATS[name](found), "utf-8", "backslashreplace")


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
) -> tuple[CheckPlan, Any]:  # fmt: skip
    """What is to be checked, and the file that says how models are opened."""
    from onnxspace.checking.plan import CheckPlan, find_plan, single

    if bool(models) != (against is not None):
        raise click.UsageError("a model and --against go together; without both, the configuration says what to check.")
    if against is None:
        if limits or distinct or any(options[name] for name in ("encoder", "probe", "images", "seed", "method")):
            raise click.UsageError("these options go with a model and --against; write them into the configuration.")
        return find_plan(config)
    encoder = options.pop("encoder")
    return CheckPlan(single(models, against, limits, distinct, encoder), **options), config


def _report(found: tuple[Verdict, ...], shown: str | None, *, quiet: bool, update: bool) -> int:
    from onnxspace.checking.formats import FORMATS
    from onnxspace.checking.verdict import code_of
    from onnxspace.cli.text import check as checktext

    for line in checktext.errors(found):
        click.echo(line, err=True)
    if not quiet:
        for line in checktext.warnings(found):
            click.echo(line, err=True)
    if shown is not None:
        click.echo(FORMATS[shown](found), nl=False)
    else:
        click.echo("\n".join(checktext.written(found) if update else checktext.verdicts(found)))
    return code_of(found)
