"""The command line: parse arguments, make one call, print, and exit. Commands are imported when they are run.

The top layer: nothing imports it, and it computes nothing, so that everything it does can be done from Python.
"""

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

from onnxspace.cli.console import print_error, print_notes
from onnxspace.cli.help import UnbrokenHelp
from onnxspace.cli.names import NamedCommands, describe_usage
from onnxspace.cli.text.lines import as_sentence, one_line
from onnxspace.errors import OnnxspaceError, describe_missing, is_out_of_memory, unexpected

click.Context.formatter_class = UnbrokenHelp
TROUBLE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
#: command → (module, attribute, one line for --help)
_COMMANDS = {
    "score": ("onnxspace.cli.commands.score", "score", "Rank models as sources for a task, or list which are alike."),
    "explain": ("onnxspace.cli.commands.explain", "explain", "Draw the attribution maps of models for some images."),
    "transfer": (
        "onnxspace.cli.commands.transfer",
        "transfer",
        "Rank models by labelled photos, or by fine-tuning them in small.",
    ),
    "space": ("onnxspace.cli.commands.space", "space", "Keep models in a folder that grows, and compare them."),
    "check": ("onnxspace.cli.commands.check", "check", "Check whether an export is still the same network."),
    "diff": ("onnxspace.cli.commands.diff", "diff", "Say what changed between two models, node by node."),
    "fingerprint": (
        "onnxspace.cli.commands.fingerprint",
        "fingerprint",
        "Write a small file that stands for a model in comparisons.",
    ),
    "evaluate": ("onnxspace.cli.commands.evaluate", "evaluate", "Evaluate rankings against the ground truth."),
    "convert": ("onnxspace.cli.commands.convert", "convert", "Convert a model of another framework into a verified ONNX file."),
    "report": ("onnxspace.cli.commands.report", "report", "Write a space or a result as an HTML page."),
    "layers": (
        "onnxspace.cli.commands.layers",
        "layers",
        "Find the layer of one model to start from for another's task.",
    ),
    "inspect": ("onnxspace.cli.commands.inspect", "inspect", "Describe a model, and list the tensors at which it can be cut."),
    "completion": ("onnxspace.cli.commands.completion", "completion", "Print the script that completes commands in a shell."),
}


class _LazyGroup(NamedCommands):
    """A group that imports a command when it is used; its own help needs only the table above."""

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


def _print_version(ctx: click.Context, _parameter: click.Parameter, is_set: bool) -> None:
    if is_set:
        from importlib.metadata import version

        click.echo(f"onnxspace {version('onnxspace')}")
        ctx.exit()


_EXITS = (
    "Exit codes: 0 done; 1 something differs (check, diff, space verify); 2 it failed, or a model did; 130 interrupted. "
    "Results go to standard output, all else to standard error. NO_COLOR switches colours off."
)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXITS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version.")
def cli() -> None:
    """Compare trained models from their ONNX files: which to start from, which are copies or relatives, and whether an export is still the same network."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 a check differs, 2 trouble, 130 interrupted."""
    _prepare()
    try:
        code = cli.main(arguments, prog_name="onnxspace", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        _exit_with("interrupted; nothing was kept.", INTERRUPTED)
    except SystemExit as error:
        sys.exit(_discard_output(PIPE_CLOSED) if error.code == 1 else error.code)  # click exits with 1 only on a closed pipe
    except click.ClickException as error:
        _show_usage(error)
        sys.exit(TROUBLE)
    except OnnxspaceError as error:
        _exit_with(error_message(error), TROUBLE)
    except BrokenPipeError:
        sys.exit(_discard_output(PIPE_CLOSED))
    except OSError as error:
        what, why = error.filename or "The output", error.strerror or error
        _exit_with(f"{what} can't be read or written ({why}). Free some space or check the path.", _discard_output(TROUBLE))
    except MemoryError:
        _exit_with("not enough memory. Use fewer --images or a smaller --batch-size.", TROUBLE)
    except ModuleNotFoundError as error:
        _exit_with(describe_missing(error), TROUBLE)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        if is_out_of_memory(error):
            _exit_with("not enough memory. Use fewer --images or a smaller --batch-size.", TROUBLE)
        _exit_with(
            f"{unexpected('The command', error)} Please report this with the output of `python -X dev -m onnxspace …`.", TROUBLE
        )
    sys.exit(code or 0)


def _show_usage(error: click.ClickException) -> None:
    """Show a message as a sentence below the usage; it may be click's own, and quote the name of a file."""
    text = io.StringIO()
    click.UsageError(as_sentence(describe_usage(error)), getattr(error, "ctx", None)).show(file=text)
    with suppress(OSError):
        print_notes(text.getvalue().splitlines())


def _prepare() -> None:
    """Clean up on SIGTERM and SIGHUP, and escape characters that the terminal's encoding lacks."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output(code: int) -> int:
    """Discard output that can't be written, so that it is not tried again at exit; return `code`."""
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def error_message(error: BaseException) -> str:
    """An error's message on one line."""
    return one_line(str(error.args[-1] if isinstance(error, OSError) and error.args else error))


def _exit_with(text: str, code: int) -> NoReturn:
    with suppress(OSError):
        print_error(text)
    sys.exit(code)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    sys.exit(128 + number)  # unwinds, so that unfinished folders are removed
