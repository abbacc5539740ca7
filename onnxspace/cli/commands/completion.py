"""The command `onnxspace completion`."""

from __future__ import annotations

import click

from onnxspace.cli.names import Names
from onnxspace.cli.options import no_notes_option


@click.command()
@click.argument("shell", type=Names(("bash", "zsh", "fish"), "shell"))
@no_notes_option
def completion(shell: str) -> None:
    """Print the script that completes commands, options and files in a shell.

    For bash:

    \b
    onnxspace completion bash > \\
      ~/.local/share/bash-completion/completions/onnxspace
    """
    from click.shell_completion import get_completion_class

    from onnxspace.cli import cli

    found = get_completion_class(shell)
    if found is None:  # pragma: no cover
        raise click.ClickException(f"click has no completion for {shell}.")
    click.echo(found(cli, {}, "onnxspace", "_ONNXSPACE_COMPLETE").source())
