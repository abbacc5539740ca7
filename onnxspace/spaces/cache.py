"""Affinities that were computed before, one checked row per model. Nothing is lost with this file: it is made again.

Rows are keyed by what they were computed from (identity and checksums), so that a restored catalogue, or a model that
was replaced, never meets another's numbers.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.spaces.facts import Entry

_FORMAT = 1
_TABLE = "CREATE TABLE row (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, pairs BLOB NOT NULL, crc INTEGER NOT NULL)"
_MAX_ROW = 64 * 2**20
Pairs = NDArray[np.float64]


def key_of(entry: Entry) -> str:
    return f"{entry.identity}.{entry.prints.sha256}.{'' if entry.maps is None else entry.maps.sha256}"


def load(path: Path, entries: Sequence[Entry]) -> Pairs:
    """Known affinities and their standard errors, float64 [2, entries, entries]; NaN where there is none to be trusted."""
    found = np.full((2, len(entries), len(entries)), np.nan)
    found[0, range(len(entries)), range(len(entries))], found[1, range(len(entries)), range(len(entries))] = 1.0, 0.0
    place = {key_of(entry): index for index, entry in enumerate(entries)}
    with suppress(sqlite3.Error, ValueError), _opened(path) as connection:
        numbers, places, count = np.empty(len(entries), np.int64), np.empty(len(entries), np.int64), 0
        for number, key, pairs, crc in connection.execute("SELECT number, key, pairs, crc FROM row ORDER BY number"):
            if (here := place.get(key)) is not None and (row := _row(number, pairs, crc)) is not None:
                there = places[:count]
                found[:, here, there] = found[:, there, here] = row[:, numbers[:count]]
                numbers[count], places[count], count = number, here, count + 1
    return found


def store(path: Path, entries: Sequence[Entry], pairs: Pairs, rows: Sequence[int]) -> None:
    """Keep some rows of `pairs`, float64 [2, entries, entries]. Where that can't be done, the next reader computes them."""
    try:
        _store(path, entries, pairs, rows)
    except sqlite3.OperationalError:  # a read-only place, a full disk, another process that takes long
        return
    except sqlite3.Error:
        with suppress(OSError, sqlite3.Error):
            path.unlink(missing_ok=True)
            _store(path, entries, pairs, range(len(entries)))


def _store(path: Path, entries: Sequence[Entry], pairs: Pairs, rows: Sequence[int]) -> None:
    place = {key_of(entry): index for index, entry in enumerate(entries)}
    with _opened(path, create=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        listed = [(n, place[k]) for n, k in connection.execute("SELECT number, key FROM row ORDER BY number") if k in place]
        known = {index: number for number, index in listed}
        for index in rows:
            number = known.setdefault(index, _next(connection))
            earlier = np.array([(n, i) for i, n in known.items() if n < number], np.int64).reshape(-1, 2)
            row = np.full((2, number), np.nan)
            row[:, earlier[:, 0]] = pairs[:, index, earlier[:, 1]]
            content = row.astype("<f8").tobytes()
            values = (number, key_of(entries[index]), content, zlib.crc32(content))
            connection.execute("INSERT OR REPLACE INTO row VALUES (?, ?, ?, ?)", values)
        connection.execute("COMMIT")


def prune(path: Path, entries: Sequence[Entry]) -> None:
    """Forget rows of models that are no more."""
    live = {key_of(entry) for entry in entries}
    with suppress(sqlite3.Error, ValueError), _opened(path) as connection:
        dead = [(key,) for (key,) in connection.execute("SELECT key FROM row") if key not in live]
        connection.executemany("DELETE FROM row WHERE key = ?", dead)
        connection.execute("VACUUM")


def _next(connection: sqlite3.Connection) -> int:
    highest = connection.execute("SELECT max(number) FROM row").fetchone()[0]
    return 0 if highest is None else int(highest) + 1


def _row(number: object, content: object, crc: object) -> Pairs | None:
    if not isinstance(number, int) or not isinstance(content, bytes) or len(content) != 16 * number or number < 0:
        return None
    if zlib.crc32(content) != crc:
        return None
    row = np.frombuffer(content, "<f8").reshape(2, number)
    bad = (np.abs(row[0]) > 1) | (row[1] < 0) | np.isinf(row[1])
    return None if bad.any() else row


@contextmanager
def _opened(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    if path.is_symlink() or (not create and not path.is_file()):
        raise ValueError("no cache")
    address = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    with closing(sqlite3.connect(address, uri=True, timeout=10, isolation_level=None, check_same_thread=False)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_ROW)
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {setting}")
        _check(connection, create=create)
        yield connection


def _check(connection: sqlite3.Connection, *, create: bool) -> None:
    """Refuse anything but our own table, as damage."""
    for attempt in range(2):
        tables = [row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 9")]
        if tables == [_TABLE] and connection.execute("PRAGMA user_version").fetchone()[0] == _FORMAT:
            return
        if tables or not create or attempt:
            raise sqlite3.DatabaseError("not a cache of this format")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.execute("COMMIT")
