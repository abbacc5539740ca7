"""Where models are worked on before they are in the space: a folder per process, which anyone may remove when it ended."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxspace.locks import take
from onnxspace.spaces.files import WORK, written

_LOCK = "lock"


@contextmanager
def workbench(folder: Path) -> Iterator[Path]:
    """A new folder inside the space, locked as long as the block runs, and removed after it."""
    while (made := _claimed(folder / WORK)) is None:
        pass
    bench, number = made
    try:
        yield bench
    finally:
        if os.name == "nt":  # an open file can't be removed there
            os.close(number)
        _remove(bench)
        if os.name != "nt":
            os.close(number)


def _claimed(work: Path) -> tuple[Path, int] | None:
    """A new folder and its open lock; None where somebody took the empty folder for an abandoned one."""
    bench = work / secrets.token_hex(8)
    with written(bench):
        try:
            work.mkdir(exist_ok=True)
            bench.mkdir()
            number = os.open(bench / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            if not work.parent.is_dir():
                raise
            return None
    with suppress(FileNotFoundError):
        if take(number) and os.path.samestat(os.fstat(number), (bench / _LOCK).stat()):
            return bench, number
    os.close(number)
    return None


def abandoned(folder: Path) -> list[Path]:
    """The folders of processes that have ended."""
    with suppress(OSError):
        return [bench for bench in sorted((folder / WORK).iterdir()) if _is_free(bench)]
    return []


def clear_abandoned(folder: Path) -> int:
    """Remove them; gives their number."""
    found = abandoned(folder)
    for bench in found:
        _remove(bench)
    return len(found)


def _remove(bench: Path) -> None:
    """The lock goes last: a folder with anything in it has one, and one without may be just being made."""
    with suppress(OSError):
        if (bench / _LOCK).exists():
            for path in bench.iterdir():
                if path.name != _LOCK:
                    path.unlink()
            (bench / _LOCK).unlink()
        bench.rmdir()
    with suppress(OSError):
        bench.parent.rmdir()


def _is_free(bench: Path) -> bool:
    if bench.is_symlink() or not bench.is_dir():
        return False
    try:
        number = os.open(bench / _LOCK, os.O_RDWR)
    except OSError:
        return not (bench / _LOCK).exists()
    try:
        return take(number, unknown=False)
    finally:
        os.close(number)
