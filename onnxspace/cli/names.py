"""Names of commands, options and values, of which an unknown one is answered by the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxspace.inputs.nearest_names import describe_unknown

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # generic from click 8.2 on


#: What click calls numbers at the end of a message.
_NUMBERS = {"integer.": "whole number", "integer range.": "whole number", "float.": "number", "float range.": "number"}


class Names(_Choice):
    """One of several names; `kind` is what they name, in the singular."""

    def __init__(self, choices: Sequence[str], kind: str) -> None:
        super().__init__(choices)
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(describe_unknown(self._kind, str(value), self.choices), param, ctx)
        return str(value)


class NamedCommands(click.Group):
    """A group of commands; without one, its help goes to stderr as it is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True, color=ctx.color)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            ctx.fail(describe_unknown("command", args[0], names))
        return super().resolve_command(ctx, args)


def describe_usage(error: click.ClickException) -> str:
    """The words for a mistake in what is typed, instead of click's where these are not plain."""
    if isinstance(error, click.NoSuchOption):
        return _describe_option(error)
    if isinstance(error, click.MissingParameter):
        return _describe_missing(error)
    return name_number(error.format_message())


def _describe_option(error: click.NoSuchOption) -> str:
    """The words for an option that a command does not have; a single letter is near to none."""
    parameters = [] if error.ctx is None else error.ctx.command.get_params(error.ctx)
    names = [name for one in parameters if isinstance(one, click.Option) for name in (*one.opts, *one.secondary_opts)]
    long = [name for name in names if name.startswith("--") and error.option_name.startswith("--")]
    return describe_unknown("option", error.option_name, long, listed=False)


def _describe_missing(error: click.MissingParameter) -> str:
    """The words for an argument or option that is not given, of an option with the form of its value."""
    option = error.param
    if isinstance(option, click.Option):
        return ask_for_option(option.opts[-1], option.metavar)
    return error.format_message().partition(" Choose from:")[0]


def ask_for_option(name: str, metavar: str | None) -> str:
    """The words for a required option that is not given.

    >>> ask_for_option("--output", "FILE.html")
    'Missing option --output. Give --output FILE.html.'
    """
    return f"Missing option {name}. Give {name} {metavar or 'VALUE'}."


def name_number(message: str) -> str:
    """A message of click with a plain name of the kind of number that a value is not.

    >>> name_number("Invalid value for '--images': 'ten' is not a valid integer range.")
    "Invalid value for '--images': 'ten' is not a whole number."
    """
    head, _, kind = message.rpartition(" is not a valid ")
    return f"{head} is not a {_NUMBERS[kind]}." if kind in _NUMBERS else message
