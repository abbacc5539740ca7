"""The working folder beside a result: what an interrupted run has computed waits there for the next one.

`.NAME.unfinished` holds maps in one folder per command (all that determines them besides the model, as a digest), those
of the current command and of at most one other, and a lock that ends with the process that holds it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from onnxspace.errors import OutputError
from onnxspace.storage.journal import Journal
from onnxspace.storage.locks import take

_LOCK, _RESULT, _OLD = "lock", "result", "result.old"
_COMMAND = re.compile(r"[0-9a-f]{16}")
JOURNAL = ".journal"
#: Maps that a worker of a cluster has left, `KEY-FIRST-ROWS.piece`.
PIECE = ".piece"
#: A model's features, whole.
FEATURES = ".features"
_PIECE_ROWS = re.compile(rf".*-(\d{{1,6}}){re.escape(PIECE)}")


@dataclass(frozen=True)
class Workplace:
    """`maps` is the folder of this command's maps, `result` where its result is made, `old` where an earlier one is moved."""

    maps: Path
    result: Path
    old: Path


@contextmanager
def workplace(place: Path, command: str, most: int) -> Iterator[Workplace]:
    """The working folder of the result `place`, with what an earlier run of `command` (16 hex digits) left there.

    It is gone when the block ends well. When it is left by an exception, computed maps stay (at most `most` per model), and a
    note on the exception says so. Raises OutputError where another run is at work, or something else has that name.
    """
    folder = place.with_name(f".{place.name}.unfinished")
    missing = [parent for parent in place.parents if not parent.exists()]
    try:
        with _held(folder):
            made = Workplace(folder / command, folder / _RESULT, folder / _OLD)
            _tidy(made, place)
            try:
                yield made
            except BaseException as error:
                with suppress(OSError):
                    _keep(made, place, most, error)
                raise
            _recover(made, place)
            _remove(made)
    finally:
        with suppress(OSError):  # those that hold something stay
            for parent in missing:
                parent.rmdir()


def _tidy(work: Workplace, place: Path) -> None:
    """Make room: of other commands' maps only the last used stay."""
    _recover(work, place)
    others = [path for path in work.maps.parent.iterdir() if _COMMAND.fullmatch(path.name) and path != work.maps]
    others.sort(key=lambda path: (_has_maps(path), path.stat().st_mtime))
    for path in others[:-1]:
        shutil.rmtree(path, ignore_errors=True)
    work.maps.mkdir(exist_ok=True)
    os.utime(work.maps)
    work.result.mkdir()


def _recover(work: Workplace, place: Path) -> None:
    """Drop half a result; bring back a whole one that was caught between its two names."""
    shutil.rmtree(work.result, ignore_errors=True)
    if not os.path.lexists(place):
        with suppress(FileNotFoundError):
            work.old.rename(place)
    shutil.rmtree(work.old, ignore_errors=True)


def _has_maps(folder: Path) -> bool:
    return any(path.suffix in (JOURNAL, PIECE, FEATURES) for path in folder.iterdir()) if folder.is_dir() else False


def _keep(work: Workplace, place: Path, most: int, error: BaseException) -> None:
    """Leave computed maps, where there are any, and say so."""
    _recover(work, place)
    if not any(_has_maps(path) for path in work.maps.parent.iterdir()):
        return _remove(work)
    count = sum(shard.rows for path in work.maps.glob(f"*{JOURNAL}") for shard in Journal(path, most).shards)
    count += sum(int(found[1]) for path in work.maps.iterdir() if (found := _PIECE_ROWS.fullmatch(path.name)))
    models = sum(path.suffix == FEATURES for path in work.maps.iterdir())
    if count or models:
        error.add_note(
            f"{_kept_words(count, models)} kept in {work.maps.parent}, and the same command, started again, continues there."
        )
    return None


def _kept_words(maps: int, models: int) -> str:
    """What is kept, and its verb."""
    parts = ["1 map" if maps == 1 else f"{maps} maps"] if maps else []
    parts += ["features of 1 model" if models == 1 else f"features of {models} models"] if models else []
    return f"{' and '.join(parts)} {'is' if (maps, models) == (1, 0) else 'are'}"


def _remove(work: Workplace) -> None:
    """The lock goes last, so that nobody works in a folder that is being removed; an earlier result not at all."""
    folder = work.maps.parent
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name not in (_LOCK, _OLD):
                shutil.rmtree(path, ignore_errors=True)
        (folder / _LOCK).unlink()
        folder.rmdir()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, making both. Raises OutputError where another process holds it."""
    number = _locked(folder)
    while number is None:
        number = _locked(folder)
    try:
        yield
    finally:
        os.close(number)
        if sys.platform == "win32":  # where an open file can't be removed, ours before and another run's now
            with suppress(OSError):
                if [path.name for path in folder.iterdir()] == [_LOCK]:
                    (folder / _LOCK).unlink()
                    folder.rmdir()


def _locked(folder: Path) -> int | None:
    """The open lock file; None where the folder went away meanwhile, and it is to be tried again."""
    _make(folder)
    try:
        number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    if not take(number):
        os.close(number)
        raise OutputError(f"Another run is at work in {folder}. Wait for it to end, or name another --output.")
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(number), (folder / _LOCK).stat()):
            return number
    os.close(number)
    return None


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _refuse_strangers(folder)


def _refuse_strangers(folder: Path) -> None:
    """Raise OutputError where the name is taken by what no run of this user has made."""
    try:
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == getattr(os, "geteuid", lambda: found.st_uid)()
        known = ours and all(p.name in (_LOCK, _RESULT, _OLD) or _COMMAND.fullmatch(p.name) for p in folder.iterdir())
    except FileNotFoundError:
        return
    if not known:
        raise OutputError(
            f"{folder}, where unfinished work would be kept, is there already and is something else. "
            "Remove it, or name another --output."
        )
