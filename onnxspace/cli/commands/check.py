"""The command `onnxspace check`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.check_pages import PageRequest, check_pages, write_pages
from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    METHOD_HELP,
    class_options,
    pixel_options,
    quiet_option,
    take_pixels,
    take_targets,
    threads_option,
)
from onnxspace.cli.seeds import PROBE_SEED, seed_option
from onnxspace.inputs.execution import DEVICES, Compute
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.inputs.targets import take_one

if TYPE_CHECKING:
    from onnxspace.checking.plan import CheckPlan
    from onnxspace.checking.sandbox import Limits
    from onnxspace.checking.verdict import Verdict
    from onnxspace.inputs.stated_pixels import StatedPixels


#: The forms of `onnxspace.checking.child.forms`, which is not imported because it loads ONNX.
FORMS = ("opset", "optimised", "half", "int8")


@dataclass(frozen=True)
class _Options:
    """Options of `check` besides those of the plan."""

    limits: tuple[str, ...]
    distinct: bool
    forms: tuple[str, ...]
    formats: tuple[str, ...]
    bounds: str | None
    config: str | None
    pictures: str | None
    report: str | None
    device: Any
    threads: int | None
    stated: StatedPixels


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL.onnx]...")
@click.option("--against", metavar="MODEL.onnx|PRINT.fp|ZOO.space:NAME", help="Baseline to compare the models with.")
@click.option(
    "--limit", "limits", multiple=True, metavar="METRIC=NUMBER", help="Smallest or largest value that passes; repeatable."
)
@click.option("--distinct", is_flag=True, help="Require that the models are not copies of the baseline.")
@click.option("--update", is_flag=True, help="Write the baselines (PRINT.fp and a notes file) instead of checking.")
@click.option(
    "--calibrate", is_flag=True, help="Write each model in other forms, measure these, and print limits that they pass."
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
@seed_option(PROBE_SEED, most=2**31)
@click.option(
    "--method",
    type=Names(tuple(METHODS), "method"),
    metavar="METHOD",
    help=f"{METHOD_HELP} [default: the baseline's, or elrp].",
)
@click.option(
    "--baseline",
    "pixels",
    metavar="WORD|IMAGE",
    help="What maps are relative to: zero (of the network's input), mean, black, blur, or an image file [default: the baseline's, or zero].",
)
@class_options
@click.option("--encoder", metavar="NAME", help="Tensor or node to cut at [default: auto].")
@pixel_options
@click.option(
    "--device",
    type=Names(DEVICES, "device"),
    default="auto",
    show_default=True,
    help="Where maps are computed; auto takes the GPUs that Torch sees.",
)
@threads_option
@click.option(
    "--limits",
    "bounds",
    metavar="memory=8G,cpu=1800,wall=900",
    help="Limits of the process that reads a model: memory, and seconds of processor and wall-clock time for each step.",
)
@click.option(
    "--config", metavar="FILE", help="File with the table [check] [default: onnxspace.toml or pyproject.toml, if there]."
)
@click.option("--pictures", metavar="DIR", help="Draw the images whose maps differ most.")
@click.option(
    "--report",
    metavar="FILE.html",
    help="Write a page on both graphs, as diff does, if a model is not as its baseline, a model.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME[=FILE]",
    help="json, junit, sarif, github or markdown instead of text, or into a file; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/check/1): --format json.")
@quiet_option
def check(
    models: tuple[str, ...], against: str | None, update: bool, calibrate: bool, as_json: bool, quiet: bool, **given: Any
) -> int:
    """Check whether models are still the same networks as their baselines.

    Each model runs in a process of its own, and its maps, outputs and file are compared with a baseline. Without arguments,
    everything in the table [check] of onnxspace.toml or pyproject.toml is checked. Exit code 0: all as expected, 1: some are
    not, 2: some could not be compared. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    from onnxspace.checking.sandbox import Limits, parse_limits

    given["stated"] = take_pixels(given)
    given["target"] = take_one(take_targets(given))
    chosen = _Options(**{name: given.pop(name) for name in _Options.__annotations__})
    shown, files = _parse_formats((*chosen.formats, "json") if as_json else chosen.formats)
    allowed = Limits() if chosen.bounds is None else parse_limits(chosen.bounds)
    if calibrate and update:
        raise click.UsageError("--calibrate and --update exclude each other: calibrate first.")
    _check_forms(chosen.forms, calibrate)
    against = models[0] if calibrate and models and against is None else against
    plan, file = _make_plan(models, against, chosen, given)
    if chosen.report is not None:
        if update or calibrate:
            raise click.UsageError("--report is of a check; leave out --update and --calibrate.")
        check_pages(plan, chosen.report)
    if calibrate:
        return _calibrate(plan, chosen, allowed, file, quiet=quiet, as_json=shown == "json")
    from onnxspace.checking.run import check as run
    from onnxspace.checking.run import update as write
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        if update:
            found = write(
                plan,
                allowed,
                device=Compute(chosen.device, threads=chosen.threads or 0),
                config=file,
                progress=bar,
                pixels=chosen.stated,
            )
        else:
            found = run(
                plan,
                allowed,
                device=Compute(chosen.device, threads=chosen.threads or 0),
                config=file,
                pictures=chosen.pictures,
                progress=bar,
                pixels=chosen.stated,
            )
            if chosen.report is not None:
                found = write_pages(plan, found, PageRequest(Path(chosen.report), allowed, chosen.stated, file), bar)
    _write_files(found, files)
    return _print_report(found, shown, quiet=quiet, update=update)


def _check_forms(forms: tuple[str, ...], calibrate: bool) -> None:
    if forms and not calibrate:
        raise click.UsageError("--form needs --calibrate.")
    for name in forms:
        if name not in FORMS:
            raise click.UsageError(f"--form: {describe_unknown('form', name, FORMS)}")


def _calibrate(
    plan: CheckPlan, chosen: _Options, allowed: Limits, file: Any, *, quiet: bool, as_json: bool
) -> int:  # fmt: skip
    import json

    from onnxspace.checking.calibrate import USUAL, as_toml, calibrate
    from onnxspace.cli.console import print_notes, progress_bar
    from onnxspace.cli.text import check as checktext

    with progress_bar(enabled=not quiet) as bar:
        found = calibrate(
            plan,
            chosen.forms or USUAL,
            allowed,
            device=Compute(chosen.device, threads=chosen.threads or 0),
            config=file,
            progress=bar,
            pixels=chosen.stated,
        )
    print_notes(checktext.calibration_errors(found))
    if as_json:
        click.echo(
            json.dumps({"schema": "onnxspace/calibration/1", "artifacts": [vars(one) for one in found]}, allow_nan=False)
        )
    else:
        print_notes(checktext.calibrations(found), quiet=quiet)
        click.echo(as_toml(found), nl=False)
    return 2 if any(one.failed for one in found) else 0


def _parse_formats(requested: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """The format of standard output, None for text, and the format of each file."""
    from onnxspace.checking.formats import FORMATS

    pairs = [(name, file) for name, _, file in (one.partition("=") for one in requested)]
    for name, _ in pairs:
        if name not in FORMATS:
            raise click.UsageError(f"--format: {describe_unknown('format', name, FORMATS)}")
    shown = {name for name, file in pairs if not file}
    if len(shown) > 1:
        raise click.UsageError(f"only one of {' and '.join(sorted(shown))} can go to standard output; name a file: junit=FILE.")
    return next(iter(shown), None), {file: name for name, file in pairs if file}


def _write_files(found: tuple[Verdict, ...], files: dict[str, str]) -> None:
    from pathlib import Path

    from onnxspace.checking.formats import FORMATS
    from onnxspace.storage.atomic import whole_file

    for file, name in files.items():
        with whole_file(Path(file)) as partial:
            partial.write_text(FORMATS[name](found), "utf-8", "backslashreplace")


def _parse_limits(limits: tuple[str, ...]) -> dict[str, float | None]:
    made: dict[str, float | None] = {}
    for text in limits:
        name, _, value = text.partition("=")
        try:
            made[name.strip()] = None if value.strip() == "none" else float(value)
        except ValueError:
            raise click.UsageError(f"--limit {text} is not of the form METRIC=NUMBER, such as affinity=0.99.") from None
    return made


def _make_plan(
    models: tuple[str, ...], against: str | None, chosen: _Options, options: dict[str, Any]
) -> tuple[CheckPlan, Any]:
    """The plan, and the file that configures how models are opened."""
    from onnxspace.checking.plan import CheckPlan, artifacts_against, find_plan

    limits = _parse_limits(chosen.limits)
    if bool(models) != (against is not None):
        raise click.UsageError(_ask_for_other_side(models, against))
    if chosen.distinct and limits:
        raise click.UsageError("--distinct and --limit exclude each other: what must not be a copy has no other limit.")
    if against is None:
        if (
            limits
            or chosen.distinct
            or any(options[name] for name in ("encoder", "probe", "images", "seed", "method", "pixels", "target"))
        ):
            raise click.UsageError("these options need a model and --against; else write them into the configuration.")
        return find_plan(chosen.config)
    encoder = options.pop("encoder")
    return CheckPlan(artifacts_against(models, against, limits, chosen.distinct, encoder), **options), chosen.config


def _ask_for_other_side(models: tuple[str, ...], against: str | None) -> str:
    """What to write where a baseline is given without models, or models without a baseline."""
    from onnxspace.storage.printable import shorten

    named = [shorten(one, 200) for one in (*models, *filter(None, [against]))]
    rest = "or give neither, to check what the configuration names"
    if against is not None:
        return f"name the model to compare with {named[-1]}: onnxspace check MODEL.onnx --against {named[-1]}; {rest}."
    if len(models) == 2:
        return (
            f"say which is the baseline: onnxspace check {named[1]} --against {named[0]} checks {named[1]}, and onnxspace check "
            f"{named[0]} --against {named[1]} checks {named[0]}; {rest}."
        )
    return f"say what to compare with: onnxspace check {' '.join(named[:3])} --against BASELINE, a model, a .fp file or ZOO.space:NAME; {rest}."


def _print_report(found: tuple[Verdict, ...], shown: str | None, *, quiet: bool, update: bool) -> int:
    from onnxspace.checking.formats import FORMATS
    from onnxspace.checking.verdict import exit_code_of
    from onnxspace.cli.console import print_lines, print_notes
    from onnxspace.cli.text import check as checktext

    print_notes(checktext.errors(found))
    print_notes(checktext.warnings(found), quiet=quiet)
    if shown is not None:
        click.echo(FORMATS[shown](found), nl=False)
    else:
        print_lines(checktext.written_baselines(found) if update else checktext.verdicts(found))
    return exit_code_of(found)
