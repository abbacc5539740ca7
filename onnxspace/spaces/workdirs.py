"""Work folders, in which models are prepared before they are in the space, with a lock released when their process ends.

Any process may remove a folder whose process has ended, except that the maps of a model and their journal are kept for the
next process that adds this model, or for `compact`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxspace.errors import ClusterError, OutputError
from onnxspace.spaces.layout import WORK
from onnxspace.storage.atomic import convert_write_errors
from onnxspace.storage.locks import try_lock

_LOCK, _MAPS = "lock", (".journal", ".piece")
#: Errors that stop the whole command, rather than one model.
_Stops = (OutputError, ClusterError)


@contextmanager
def open_workbench(folder: Path) -> Iterator[Path]:
    """Create a work folder inside the space, locked while the block runs and removed after it. Raises OutputError."""
    while (made := _claim(folder / WORK)) is None:
        pass
    bench, number = made
    try:
        yield bench
    finally:
        _release(bench, number, stays=False)


@contextmanager
def resume_workbench(folder: Path, key: str, recipe: str) -> Iterator[tuple[Path, bool]]:
    """Open the work folder of `key` (32 hex digits) with what an earlier process left there: yields the folder and True.

    Files whose names do not contain `recipe` are removed.

    Where another process uses the folder, or the file system has no locks, yields an empty folder and False. If the command
    is stopped (by a full disk, or by an exception such as KeyboardInterrupt), a folder with a journal is kept; otherwise it
    is removed. Raises OutputError.
    """
    if (made := _reopen(folder / WORK / key)) is None:
        with open_workbench(folder) as bench:
            yield bench, False
        return
    number, stays = made, False
    try:
        _drop_others(folder / WORK / key, recipe)
        yield folder / WORK / key, True
    except BaseException as error:
        stays = is_resumable(folder / WORK / key) and (isinstance(error, _Stops) or not isinstance(error, Exception))
        raise
    finally:
        _release(folder / WORK / key, number, stays=stays)


def _reopen(bench: Path) -> int | None:
    """Create or reopen a folder and return its lock; None where it can't be locked."""
    while not bench.is_symlink():
        with convert_write_errors(bench):
            bench.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process has just removed the empty folder as abandoned
                bench.mkdir(exist_ok=True)
                number = os.open(bench / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
                if not try_lock(number, unknown=False):
                    os.close(number)
                    return None
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(number), (bench / _LOCK).stat()):
                        return number
                os.close(number)
        if not bench.parent.parent.is_dir():
            return None
    return None


def _drop_others(bench: Path, recipe: str) -> None:
    with convert_write_errors(bench):
        for path in bench.iterdir():
            if path.name != _LOCK and recipe not in path.name:
                path.unlink()


def _release(bench: Path, number: int, *, stays: bool) -> None:
    if os.name == "nt":  # an open file can't be removed there
        os.close(number)
    if not stays:
        _remove(bench)
    if os.name != "nt":
        os.close(number)


def is_resumable(bench: Path) -> bool:
    """Return whether a folder holds maps with which the next process can resume."""
    return len(bench.name) == 32 and any(path.suffix in _MAPS for path in bench.iterdir())


def _claim(work: Path) -> tuple[Path, int] | None:
    """A new folder and its open lock; None where another process removed the empty folder as abandoned."""
    bench = work / secrets.token_hex(8)
    with convert_write_errors(bench):
        try:
            work.mkdir(exist_ok=True)
            bench.mkdir()
            number = os.open(bench / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            if not work.parent.is_dir():
                raise
            return None
    with suppress(FileNotFoundError):
        if try_lock(number) and os.path.samestat(os.fstat(number), (bench / _LOCK).stat()):
            return bench, number
    os.close(number)
    return None


def find_abandoned(folder: Path) -> list[Path]:
    """Return the work folders of processes that have ended."""
    with suppress(OSError):
        return [bench for bench in sorted((folder / WORK).iterdir()) if _is_free(bench)]
    return []


def clear_abandoned(folder: Path, *, unfinished: bool) -> int:
    """Remove abandoned work folders, resumable ones only if `unfinished` is set; returns their number. Errors are ignored."""
    found = [bench for bench in find_abandoned(folder) if unfinished or not is_resumable(bench)]
    for bench in found:
        _remove(bench)
    return len(found)


def _remove(bench: Path) -> None:
    """Remove the lock last: a folder that has content has a lock, and one without a lock may just have been created."""
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
        return try_lock(number, unknown=False)
    finally:
        os.close(number)
