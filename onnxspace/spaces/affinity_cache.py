"""A cache of affinities: one checksummed row per model. The file can be deleted at any time; it is then computed again.

A row holds a model's pairs with the models entered before it, or nothing where only the rows of others were requested.

Rows are keyed by what they were computed from (identity and checksums), so that a restored catalogue or a replaced model
never gets the values of another.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.spaces.schema import CatalogueEntry

_FORMAT = 1
_TABLE = "CREATE TABLE row (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, pairs BLOB NOT NULL, crc INTEGER NOT NULL)"
_MAX_ROW = 64 * 2**20
Pairs = NDArray[np.float64]


def key_of(entry: CatalogueEntry) -> str:
    """Return the cache key of a model: its identity and the checksums of its files."""
    return f"{entry.identity}.{entry.prints.sha256}.{'' if entry.maps is None else entry.maps.sha256}"


def load(path: Path, entries: Sequence[CatalogueEntry], *, errors: bool = True) -> Pairs:
    """Load cached affinities of `entries` and, with `errors`, their standard errors: float64 [2 or 1, entries, entries].

    Values that are not cached are NaN. A missing or damaged file counts as empty.
    """
    found = np.full((1 + errors, len(entries), len(entries)), np.nan)
    for plane, own in zip(found, (1.0, 0.0), strict=False):
        np.fill_diagonal(plane, own)
    for here, there, row in _read_pairs(path, entries):
        found[:, here, there] = found[:, there, here] = row[: len(found)]
    return found


def load_row(path: Path, entries: Sequence[CatalogueEntry], index: int) -> Pairs:
    """Load cached affinities of the model at `index` with all `entries`, and errors: float64 [2, entries], NaN if unknown."""
    found = np.full((2, len(entries)), np.nan)
    found[:, index] = 1.0, 0.0
    for here, there, row in _read_pairs(path, entries):
        if here == index:
            found[:, there] = row
        elif (at := np.flatnonzero(there == index)).size:
            found[:, here] = row[:, at[0]]
    return found


def _read_pairs(path: Path, entries: Sequence[CatalogueEntry]) -> Iterator[tuple[int, NDArray[np.int64], Pairs]]:
    """Position of a requested model, those of models entered before it, and its pairs with them, float64 [2, earlier]."""
    place = {key_of(entry): index for index, entry in enumerate(entries)}
    with suppress(sqlite3.Error, ValueError), _open_cache(path) as connection:
        listed = connection.execute("SELECT number, key FROM row ORDER BY number").fetchall()
        numbers, places, count = np.empty(len(entries), np.int64), np.empty(len(entries), np.int64), 0
        for number, here in [(number, place[key]) for number, key in listed if key in place]:
            stored = connection.execute("SELECT pairs, crc FROM row WHERE number = ?", (number,)).fetchone()
            if (row := _decode_row(number, *(stored or (None, None)))) is not None:
                earlier = int(np.searchsorted(numbers[:count], row.shape[1]))
                yield here, places[:earlier], row[:, numbers[:earlier]]
                numbers[count], places[count], count = number, here, count + 1


def store(path: Path, entries: Sequence[CatalogueEntry], rows: Mapping[int, Pairs]) -> None:
    """Store `rows`, by position in `entries`: float64 [2, entries] each, or [1, entries] where errors are 0.

    They are appended after all others, so that they hold their pairs with every model in the file. Errors are ignored: rows
    that can't be stored are computed again.
    """
    try:
        _store(path, entries, rows)
    except (sqlite3.OperationalError, ValueError):  # a read-only folder, a full disk, a long lock by another process; no file
        return
    except sqlite3.Error:
        with suppress(OSError, sqlite3.Error):
            path.unlink(missing_ok=True)
            _store(path, entries, rows)


def _store(path: Path, entries: Sequence[CatalogueEntry], rows: Mapping[int, Pairs]) -> None:
    place = {key_of(entry): index for index, entry in enumerate(entries)}
    with _open_cache(path, create=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM row WHERE key = ?", [(key_of(entries[index]),) for index in rows])
        listed = connection.execute("SELECT number, key FROM row ORDER BY number").fetchall()
        known = np.array([(number, place[key]) for number, key in listed if key in place], np.int64).reshape(-1, 2)
        fresh = [*sorted(set(place.values()) - set(known[:, 1].tolist()) - rows.keys()), *rows]
        known = np.vstack([known, np.stack([np.arange(len(fresh)) + _next_number(connection), fresh], axis=1)])
        for count, (number, index) in enumerate(known.tolist()[-len(fresh) :], len(known) - len(fresh)):
            content = _encode_row(rows[index], known[:count], number) if index in rows else b""
            values = (number, key_of(entries[index]), content, zlib.crc32(content))
            connection.execute("INSERT INTO row VALUES (?, ?, ?, ?)", values)
        connection.execute("COMMIT")


def _encode_row(pairs: Pairs, earlier: NDArray[np.int64], number: int) -> bytes:
    """Encode the row `number` from `pairs` with `earlier` models, given by number and position, int64 [models, 2]."""
    row = np.full((2, number), np.nan)
    row[1, earlier[:, 0]] = 0.0
    row[: len(pairs), earlier[:, 0]] = pairs[:, earlier[:, 1]]
    return row.astype("<f8").tobytes()


def prune(path: Path, entries: Sequence[CatalogueEntry]) -> None:
    """Delete the rows of models that are not in `entries`. Errors are ignored."""
    live = {key_of(entry) for entry in entries}
    with suppress(sqlite3.Error, ValueError), _open_cache(path) as connection:
        dead = [(key,) for (key,) in connection.execute("SELECT key FROM row") if key not in live]
        connection.executemany("DELETE FROM row WHERE key = ?", dead)
        connection.execute("VACUUM")


def _next_number(connection: sqlite3.Connection) -> int:
    highest = connection.execute("SELECT max(number) FROM row").fetchone()[0]
    return 0 if highest is None else int(highest) + 1


def _decode_row(number: object, content: object, crc: object) -> Pairs | None:
    if not isinstance(number, int) or not isinstance(content, bytes) or len(content) not in (0, 16 * number) or number < 0:
        return None
    if zlib.crc32(content) != crc:
        return None
    row = np.frombuffer(content, "<f8").reshape(2, -1)
    bad = (np.abs(row[0]) > 1) | (row[1] < 0) | np.isinf(row[1])
    return None if bad.any() else row


@contextmanager
def _open_cache(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    if path.is_symlink() or ((path.exists() or not create) and not path.is_file()):
        raise ValueError("no cache")
    address = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    with closing(sqlite3.connect(address, uri=True, timeout=10, isolation_level=None, check_same_thread=False)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_ROW)
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {setting}")
        _check(connection, create=create)
        yield connection


def _check(connection: sqlite3.Connection, *, create: bool) -> None:
    """Create the table if needed; treat any other table as damage."""
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
