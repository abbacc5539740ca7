"""The working folder beside a result, which keeps what an interrupted run computed for the next one.

`.NAME.unfinished` holds maps in one folder per command (named by a digest of everything but the model that determines them),
those of the current command and of at most one other, and a lock that is released when the process that holds it ends.
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
from onnxspace.storage.locks import try_lock
from onnxspace.storage.short_text import count

_LOCK, _RESULT, _OLD = "lock", "result", "result.old"
_COMMAND = re.compile(r"[0-9a-f]{16}")
JOURNAL = ".journal"
#: Maps written by a cluster worker, `KEY-FIRST-ROWS.piece`.
CHUNK = ".piece"
#: The complete features of a model.
FEATURES = ".features"
_CHUNK_ROWS = re.compile(rf".*-(\d{{1,6}}){re.escape(CHUNK)}")


@dataclass(frozen=True)
class WorkFolders:
    """`maps` is the folder of this command's maps, `result` that of the new result, `old` that of the result it replaces."""

    maps: Path
    result: Path
    old: Path


@contextmanager
def open_work_folder(place: Path, command: str, most: int) -> Iterator[WorkFolders]:
    """Open the working folder of the result `place`, with what an earlier run of `command` (16 hex digits) left there.

    The folder is removed when the block succeeds. If it raises, computed maps stay (at most `most` rows per model), and a
    note on the exception says so. Raises OutputError where another run uses the folder, or its name is taken.
    """
    folder = place.with_name(f".{place.name}.unfinished")
    missing = [parent for parent in place.parents if not parent.exists()]
    try:
        with _hold_lock(folder):
            work = WorkFolders(folder / command, folder / _RESULT, folder / _OLD)
            _tidy(work, place)
            try:
                yield work
            except BaseException as error:
                with suppress(OSError):
                    _keep(work, place, most, error)
                raise
            _recover(work, place)
            _remove(work)
    finally:
        with suppress(OSError):  # folders that are not empty stay
            for parent in missing:
                parent.rmdir()


def _tidy(work: WorkFolders, place: Path) -> None:
    """Remove the maps of other commands, except the most recently used ones."""
    _recover(work, place)
    others = [path for path in work.maps.parent.iterdir() if _COMMAND.fullmatch(path.name) and path != work.maps]
    others.sort(key=lambda path: (_has_maps(path), path.stat().st_mtime))
    for path in others[:-1]:
        shutil.rmtree(path, ignore_errors=True)
    work.maps.mkdir(exist_ok=True)
    os.utime(work.maps)
    work.result.mkdir()


def _recover(work: WorkFolders, place: Path) -> None:
    """Remove an incomplete result; restore a complete one if the process ended between the two renames."""
    shutil.rmtree(work.result, ignore_errors=True)
    if not os.path.lexists(place):
        with suppress(FileNotFoundError):
            work.old.rename(place)
    shutil.rmtree(work.old, ignore_errors=True)


def _has_maps(folder: Path) -> bool:
    return any(path.suffix in (JOURNAL, CHUNK, FEATURES) for path in folder.iterdir()) if folder.is_dir() else False


def _keep(work: WorkFolders, place: Path, most: int, error: BaseException) -> None:
    """Keep computed maps, if there are any, and add a note on them to `error`."""
    _recover(work, place)
    if not any(_has_maps(path) for path in work.maps.parent.iterdir()):
        return _remove(work)
    count = sum(shard.rows for path in work.maps.glob(f"*{JOURNAL}") for shard in Journal(path, most).shards)
    count += sum(int(found[1]) for path in work.maps.iterdir() if (found := _CHUNK_ROWS.fullmatch(path.name)))
    models = sum(path.suffix == FEATURES for path in work.maps.iterdir())
    if count or models:
        error.add_note(
            f"{_describe_kept(count, models)} kept in {work.maps.parent}, and the same command, started again, continues there."
        )
    return None


def _describe_kept(maps: int, models: int) -> str:
    """The subject and verb of the note: what is kept."""
    parts = [count(maps, "map")] if maps else []
    parts += [f"features of {count(models, 'model')}"] if models else []
    return f"{' and '.join(parts)} {'is' if (maps, models) == (1, 0) else 'are'}"


def _remove(work: WorkFolders) -> None:
    """Remove the lock last, so that no process uses a folder that is being removed; keep an earlier result."""
    folder = work.maps.parent
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name not in (_LOCK, _OLD):
                shutil.rmtree(path, ignore_errors=True)
        (folder / _LOCK).unlink()
        folder.rmdir()


@contextmanager
def _hold_lock(folder: Path) -> Iterator[None]:
    """Create the folder and hold its lock. Raises OutputError where another process holds it."""
    number = _try_lock_folder(folder)
    while number is None:
        number = _try_lock_folder(folder)
    try:
        yield
    finally:
        os.close(number)
        if sys.platform == "win32":  # an open file can't be removed there: ours until now, another run's from now on
            with suppress(OSError):
                if [path.name for path in folder.iterdir()] == [_LOCK]:
                    (folder / _LOCK).unlink()
                    folder.rmdir()


def _try_lock_folder(folder: Path) -> int | None:
    """The open lock file; None where the folder was removed in the meantime, so that the caller must try again."""
    _make_folder(folder)
    try:
        number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    if not try_lock(number):
        os.close(number)
        raise OutputError(f"Another run is using {folder}. Wait for it to end, or name another --output.")
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(number), (folder / _LOCK).stat()):
            return number
    os.close(number)
    return None


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _refuse_foreign_folder(folder)


def _refuse_foreign_folder(folder: Path) -> None:
    """Raise OutputError where `folder` was not made by a run of this user."""
    try:
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == getattr(os, "geteuid", lambda: found.st_uid)()
        known = ours and all(p.name in (_LOCK, _RESULT, _OLD) or _COMMAND.fullmatch(p.name) for p in folder.iterdir())
    except FileNotFoundError:
        return
    if not known:
        raise OutputError(
            f"{folder}, where unfinished work would be kept, already exists and is something else. "
            "Remove it, or name another --output."
        )
