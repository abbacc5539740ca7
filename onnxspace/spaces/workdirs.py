"""Where models are worked on before they are in the space: folders with a lock that ends with their process.

Anyone may remove one whose process has ended, except that maps of a model, with the journal that vouches for them, wait for
the next process that adds this model, or for `compact`.
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
#: What stops a whole command, and not only a model.
_Stops = (OutputError, ClusterError)


@contextmanager
def open_workbench(folder: Path) -> Iterator[Path]:
    """A new folder inside the space, locked as long as the block runs, and removed after it."""
    while (made := _claim(folder / WORK)) is None:
        pass
    bench, number = made
    try:
        yield bench
    finally:
        _release(bench, number, stays=False)


@contextmanager
def resume_workbench(folder: Path, key: str, recipe: str) -> Iterator[tuple[Path, bool]]:
    """The folder of what is called `key` (32 hex digits), as an earlier process has left it, and True.

    Files whose names don't have `recipe` in them are dropped.

    Where another process is at it, or on a disk that knows no locks, an empty folder and False. When the block is stopped (by
    a full disk, or what is no Exception), a folder with a journal stays; otherwise it is removed.
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
    """The lock of a folder that may be there already; None where it can't be had."""
    while not bench.is_symlink():
        with convert_write_errors(bench):
            bench.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # the empty folder was just removed as an abandoned one
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
    """Whether a folder holds maps that the next process can go on with."""
    return len(bench.name) == 32 and any(path.suffix in _MAPS for path in bench.iterdir())


def _claim(work: Path) -> tuple[Path, int] | None:
    """A new folder and its open lock; None where somebody took the empty folder for an abandoned one."""
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
    """The folders of processes that have ended."""
    with suppress(OSError):
        return [bench for bench in sorted((folder / WORK).iterdir()) if _is_free(bench)]
    return []


def clear_abandoned(folder: Path, *, unfinished: bool) -> int:
    """Remove them, but those that wait only where `unfinished` ones are to go too; gives their number."""
    found = [bench for bench in find_abandoned(folder) if unfinished or not is_resumable(bench)]
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
        return try_lock(number, unknown=False)
    finally:
        os.close(number)
