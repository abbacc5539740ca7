"""The note on standard error that an `--output` replaced what was there."""

from __future__ import annotations

from pathlib import Path

import click

from onnxspace.cli.console import print_note

#: File → what tells one content from another: inode and time of the last change.
State = dict[Path, tuple[int, int]]


def note_replaced(ctx: click.Context, _parameter: click.Parameter, output: str | None) -> str | None:
    """A callback of an option: after the command, say that files which were at `output` are others now."""
    if output is not None:
        before = _look(Path(output))
        ctx.call_on_close(lambda: _report(ctx, output, before))
    return output


def _report(ctx: click.Context, output: str, before: State) -> None:
    after = _look(Path(output))
    if not ctx.params.get("quiet") and any(path in after and after[path] != state for path, state in before.items()):
        print_note(f"{output} was there already, and is replaced.")


def _look(output: Path) -> State:
    """The state of a file, or of the files of a folder; empty where there is none, or it can't be read."""
    try:
        found = {path: path.lstat() for path in (output.iterdir() if output.is_dir() else [output])}
    except OSError:
        return {}
    return {path: (state.st_ino, state.st_mtime_ns) for path, state in found.items()}
