"""The group of commands `onnxspace space`, and what its commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxspace.cli.console import print_error, print_once, print_warning, progress_bar
from onnxspace.cli.names import NamedCommands

if TYPE_CHECKING:
    from onnxspace.similarity.records import Failure
    from onnxspace.workflows.space import Space

FAILED = 2
_DAMAGED, _ADDED = "models that were left out", "added to the JSON object"
_Function = TypeVar("_Function", bound=Callable[..., Any])
place_argument = click.argument("place", metavar="ZOO.space")

#: For commands about some of the models of a space.
where_option = click.option(
    "--where", multiple=True, metavar="CONDITION",
    help='Only models for which it holds, such as "license=apache-2.0 and tag=detector"; repeatable, then all hold.',
)  # fmt: skip

#: For commands about the models on one set of probe images.
set_option = click.option(
    "--set", "chosen", metavar="NAME", help="Set of probe images, see `space probes` [default: the first]."
)


def json_option(name: str) -> Callable[[_Function], _Function]:
    return click.option("--json", "as_json", is_flag=True, help=f"Print one JSON object (schema onnxspace/space-{name}/1).")


class _InOrder(NamedCommands):
    """A group that lists commands in the order of their definition, with their whole first sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(500)) for name, one in self.commands.items()])


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
def space() -> None:
    """Keep models in a folder, and find out which are related."""


@space.result_callback()
@click.pass_context
def end_command(context: click.Context, code: int | None) -> int | None:
    """The exit code of a command: 2 where models were left out, since only the rest was done."""
    return code or (FAILED if context.meta.get(_DAMAGED) else None)


def open_space(place: str, where: Sequence[str] = (), chosen: str | None = None) -> Space:
    from onnxspace.workflows.space import Space

    opened = Space.open(place, damaged=print_damage)
    return (opened if chosen is None else opened.open_set(chosen)).where(*where, note=print_once)


def print_damage(failure: Failure) -> None:
    """Print once why a model is left out, and note it for the exit code."""
    named: set[str] = click.get_current_context().meta.setdefault(_DAMAGED, set())
    if failure.error not in named:
        named.add(failure.error)
        print_error(failure.error)


def compute_affinity(opened: Space, memory: int, cluster: str | None = None, device: Any = "cpu", *, quiet: bool) -> Any:
    with share_bar(quiet=quiet) as share:
        return opened.affinity(memory, share, cluster, device)


@contextmanager
def share_bar(*, quiet: bool, what: str = "comparing") -> Iterator[Callable[[float], None]]:
    """A progress callback that takes the share that is done."""
    with progress_bar(enabled=not quiet) as bar:
        yield lambda share: bar(what, round(1000 * share), 1000)


def print_warnings(*, quiet: bool) -> Callable[[str], None]:
    return partial(print_warning, quiet=quiet)


def add_to_json(facts: dict[str, Any]) -> None:
    """Add facts to the JSON object that the command prints."""
    click.get_current_context().meta.setdefault(_ADDED, {}).update(facts)


def print_json(name: str, facts: dict[str, Any], number: int = 1) -> None:
    rest = {key: value for key, value in facts.items() if key != "schema"} | click.get_current_context().meta.get(_ADDED, {})
    click.echo(json.dumps({"schema": f"onnxspace/space-{name}/{number}", **rest}, allow_nan=False))
