"""Progress bars and notes on standard error; progress bars are for terminals only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import click

from onnxspace.cli.text.lines import one_line, wrap

#: In front of the second and further lines of a message.
_INDENT = "    "
#: Where a command keeps the notes that it has printed.
_NOTED = "notes that were printed"
#: Seconds between two lines of progress where stderr is no terminal.
INTERVAL = 30.0


class _Lines:
    """A progress callback that prints what is being done, not more often than every `INTERVAL` seconds."""

    def __init__(self) -> None:
        self.last = monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if (now := monotonic()) - self.last >= INTERVAL:
            self.last = now
            click.echo(one_line(f"{what}: {describe_share(done, total)}"), err=True)


def describe_share(done: int, total: int) -> str:
    """How much of the work is done; steps are not counted in words, since they are images, files or models, several times each.

    >>> describe_share(464, 2320)
    '20 % of the work is done'
    """
    return f"{100 * done // max(1, total)} % of the work is done"


@contextmanager
def progress_bar(*, enabled: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback `(what, done, total)`: a bar on stderr if that is a terminal, else a line each half minute; nothing
    unless `enabled`."""
    if not enabled or not sys.stderr.isatty():
        yield _Lines() if enabled else lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda what, done, total: bar.update(task, description=one_line(what)[:40], completed=done, total=total)


def print_note(text: str, *, quiet: bool = False) -> None:
    """Print a message on standard error, wrapped where that is a terminal; nothing if `quiet`."""
    if not quiet:
        for line in wrap(one_line(text), rest=_INDENT, err=True):
            click.echo(line, err=True)


def print_written(output: str, *, quiet: bool = False) -> None:
    """Print on standard error which file was written; nothing if `quiet`."""
    print_note(f"Wrote {output}", quiet=quiet)


def print_notes(texts: Iterable[str], *, quiet: bool = False) -> None:
    """Print messages on standard error, each as `print_note` does."""
    for text in texts:
        print_note(text, quiet=quiet)


def print_once(sentence: str) -> None:
    """Print a note once in a command, unless it is quiet."""
    context = click.get_current_context()
    printed: set[str] = context.meta.setdefault(_NOTED, set())
    print_notes({sentence} - printed, quiet=context.params["quiet"])
    printed.add(sentence)


def print_warning(text: str, *, quiet: bool = False) -> None:
    """Print a warning on standard error, unless `quiet`."""
    print_note(f"warning: {text}", quiet=quiet)


def print_error(text: str) -> None:
    """Print on standard error what failed."""
    print_note(f"onnxspace: {text}")


def print_lines(lines: Iterable[str]) -> None:
    """Print the lines of a result on standard output; an empty result is no line."""
    if text := "\n".join(lines):
        click.echo(text)


def print_remarks(photos: Any, *, quiet: bool = False) -> Any:
    """Print what was left out of a folder of `photos` (`Probes` or `Photos`, or None), a line each, and return them."""
    print_notes(() if photos is None else photos.remarks, quiet=quiet)
    return photos


@contextmanager
def report_kept_work() -> Iterator[None]:
    """Print the note that a stopped run adds to its exception: which work was kept. Without a note, nothing was kept."""
    try:
        yield
    except BaseException as error:
        from onnxspace.errors import OutputError

        for note in getattr(error, "__notes__", ()):
            if isinstance(error, OutputError):
                raise OutputError(error.errno, f"{error.args[-1]} {note}") from error
            stopped = isinstance(error, KeyboardInterrupt)
            with suppress(OSError):
                click.echo("", nl=stopped, err=True)
                print_error(("interrupted; " if stopped else "") + note)
            if stopped:
                sys.exit(130)
        raise
