"""The command line: parse, one call, render, exit code. Commands are imported when they are run."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from onnxspace.cli.text.score import one_line
from onnxspace.errors import OnnxspaceError

TROUBLE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
#: command → (module, attribute, one line for --help)
_COMMANDS = {
    "score": ("onnxspace.cli.commands.score", "score", "Compare models by what they look at, and rank sources for each."),
    "explain": ("onnxspace.cli.commands.explain", "explain", "Draw what models look at in some images."),
    "transfer": ("onnxspace.cli.commands.transfer", "transfer", "Rate models by how well their features suit labelled photos."),
    "space": ("onnxspace.cli.commands.space", "space", "Keep models in a folder that grows, and ask which are related."),
    "check": ("onnxspace.cli.commands.check", "check", "Tell whether artifacts are still the models they were."),
    "fingerprint": ("onnxspace.cli.commands.fingerprint", "fingerprint", "Write a small file to compare a model by."),
    "evaluate": ("onnxspace.cli.commands.evaluate", "evaluate", "Hold rankings against what is known."),
    "convert": ("onnxspace.cli.commands.convert", "convert", "Turn a model of another framework into a checked ONNX file."),
    "report": ("onnxspace.cli.commands.report", "report", "Write a space or a result as a page to look at."),
    "layers": (
        "onnxspace.cli.commands.layers",
        "layers",
        "Find the layer of one model from which to start for another's task.",
    ),
    "inspect": ("onnxspace.cli.commands.inspect", "inspect", "Show what a model is, and where it could be cut."),
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
    _prepare()
    try:
        code = cli.main(arguments, prog_name="onnxspace", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        _leave("interrupted; nothing was kept.", INTERRUPTED)
    except SystemExit as error:
        sys.exit(_abandon(PIPE_CLOSED) if error.code == 1 else error.code)  # click's 1 here: the reader left, nothing else
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        sys.exit(TROUBLE)
    except OnnxspaceError as error:
        _leave(message(error), TROUBLE)
    except BrokenPipeError:
        sys.exit(_abandon(PIPE_CLOSED))
    except OSError as error:
        what, why = error.filename or "The output", error.strerror or error
        _leave(f"{what} can't be read or written ({why}). Free some space or check the path.", _abandon(TROUBLE))
    except MemoryError:
        _leave("not enough memory. Use fewer --images or a smaller --batch-size.", TROUBLE)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        _leave(f"{unexpected(error)}. Please report this with what `python -X dev -m onnxspace …` prints.", TROUBLE)
    sys.exit(code or 0)


def _prepare() -> None:
    """End in good order on SIGTERM and SIGHUP, and print any character whatever the terminal's encoding."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _abandon(code: int) -> int:
    """Drop what standard output does not take, lest it is tried again at exit; gives the exit code back."""
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def message(error: BaseException) -> str:
    """An error as one line for people."""
    return one_line(str(error.args[-1] if isinstance(error, OSError) and error.args else error))


def unexpected(error: Exception) -> str:
    """An error that nobody foresaw, in words."""
    return f"failed unexpectedly ({type(error).__name__}: {message(error)[:300].rstrip('.')})"


def _leave(text: str, code: int) -> NoReturn:
    with suppress(OSError):
        click.echo(f"onnxspace: {one_line(text)}", err=True)
    sys.exit(code)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up is not to be interrupted
    sys.exit(128 + number)  # unwinds, so that unfinished folders are removed
