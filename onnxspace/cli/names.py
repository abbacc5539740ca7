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


def describe_option(error: click.NoSuchOption) -> str:
    """The words for an option that a command does not have."""
    parameters = [] if error.ctx is None else error.ctx.command.get_params(error.ctx)
    names = [name for one in parameters if isinstance(one, click.Option) for name in (*one.opts, *one.secondary_opts)]
    return describe_unknown("option", error.option_name, [name for name in names if name.startswith("--")], listed=False)


def describe_missing_parameter(error: click.MissingParameter) -> str:
    """The words for an argument or option that is not given, of an option with the form of its value."""
    option = error.param
    return ask_for_option(option.opts[-1], option.metavar) if isinstance(option, click.Option) else error.format_message()


def ask_for_option(name: str, metavar: str | None) -> str:
    """The words for a required option that is not given.

    >>> ask_for_option("--output", "FILE.html")
    'Missing option --output. Give --output FILE.html.'
    """
    return f"Missing option {name}. Give {name} {metavar or 'VALUE'}."
