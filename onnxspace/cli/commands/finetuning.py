"""Ranking by fine-tuning, which `onnxspace transfer` and `onnxspace score` offer as `--by finetune`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from onnxspace.scores.finetuned import FineTuneRanking

FINETUNE = "finetune"
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*([smh]?)\s*")


def parse_budget(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Parse a duration such as `90s`, `10m` or `2h` to seconds. Raises BadParameter."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(f"{text!r} is not a length of time; write 90s, 10m or 2h.")
    return float(found[1]) * _SECONDS[found[2]]


budget_option = click.option(
    "--budget", metavar="TIME", callback=parse_budget, help="With --by finetune: the time to use, such as 90s, 10m or 2h."
)


def refuse_options(by: Sequence[str], given: Mapping[str, Any]) -> None:
    """Refuse other scores beside `finetune`, and options that it does not take; `given` holds them by name, None where unused.

    Raises UsageError.
    """
    if len(by) > 1:
        raise click.UsageError("--by finetune ranks on its own: leave out the other scores, or compute them in a second call.")
    for name, value in given.items():
        if value:
            raise click.UsageError(f"--by finetune does not take --{name}.")


def show_finetuned(found: FineTuneRanking, output: str | None, *, as_json: bool, quiet: bool) -> int:
    """Print a ranking, and write it to `output`, a picture or a table by its suffix; returns the exit code."""
    from onnxspace.cli.console import print_error, print_lines, print_notes
    from onnxspace.cli.text import finetuned as text
    from onnxspace.cli.text.pixels import assumptions

    if output is not None:
        _write(found, Path(output))
    for failure in found.failed:
        print_error(failure.error)
    print_notes((*assumptions([model.record for model in found.models]), *text.remarks(found)), quiet=quiet)
    if as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    elif found.models:
        print_lines(text.table(found))
    return 2 if found.failed else 0


def _write(found: FineTuneRanking, target: Path) -> None:
    """Write a picture to a file that ends in .png or .svg, else CSV."""
    from onnxspace.report.learning_curves import PICTURES, draw_learning_curves
    from onnxspace.storage.atomic import whole_file

    with whole_file(target) as partial:
        if target.suffix.lower() in PICTURES:
            draw_learning_curves(found, partial, target.suffix.lower()[1:])
        else:
            partial.write_text(found.to_csv(), "utf-8", "backslashreplace")
