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
    """A group of commands."""

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
