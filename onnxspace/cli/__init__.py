"""The command line: parse, one call, render, exit code. Commands are imported when they are run."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from onnxspace.errors import OnnxspaceError

TROUBLE, INTERRUPTED, TERMINATED = 2, 130, 143
#: command → (module, attribute, one line for --help)
_COMMANDS = {
    "score": ("onnxspace.cli.score", "score", "Compare models by what they look at, and rank sources for each."),
    "inspect": ("onnxspace.cli.inspect", "inspect", "Show what a model is, and where it could be cut."),
}


class _Lazy(click.Group):
    """A group that imports a command when it is used; its help is answered from the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"onnxspace {version('onnxspace')}")
        ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
def cli() -> None:
    """Which trained models are related? Answers from ONNX files, without labels and without training."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 a check differs, 2 trouble, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(arguments, prog_name="onnxspace", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        _leave("interrupted; nothing was kept.", INTERRUPTED)
    except KeyboardInterrupt:
        _leave("interrupted; nothing was kept.", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(TROUBLE)
    except OnnxspaceError as error:
        _leave(message(error), TROUBLE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader left: nothing more to say, not even at exit
        sys.exit(TERMINATED - 2)
    except OSError as error:
        _leave(f"{error.filename or 'writing'}: {error.strerror or error}. Free some space or check the path.", TROUBLE)
    except MemoryError:
        _leave("not enough memory. Use fewer --images or a smaller --batch-size.", TROUBLE)
    sys.exit(code or 0)


def message(error: BaseException) -> str:
    """An error as one line for people."""
    text = error.args[-1] if isinstance(error, OSError) and error.args else error
    return " ".join(str(text).split())


def _leave(text: str, code: int) -> NoReturn:
    click.echo(f"onnxspace: {text}", err=True)
    sys.exit(code)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)  # unwinds, so that unfinished folders are removed
