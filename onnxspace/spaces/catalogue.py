"""The catalogue of a space: one SQLite file, whose transactions determine what the space holds.

The file is untrusted: only the tables of this format are accepted, every row has a checksum, and lengths are bounded. It uses
a rollback journal, because a write-ahead log does not work on network file systems.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from onnxspace.errors import OutputError, SpaceError
from onnxspace.inputs.labels import Labels
from onnxspace.inputs.nearest_names import describe_missing_folder
from onnxspace.inputs.precision import PRECISION
from onnxspace.inputs.protocol import TARGET, Protocol
from onnxspace.spaces.schema import CatalogueEntry, file_stem, is_stem, parse_entry, parse_label_facts, parse_protocol, to_json

#: The newest format, whose maps are in another precision than float32; that of maps of a target; that of encoders with labels or several
#: sets of images; that without; and that of spaces that keep maps only.
FORMAT, TARGETED, LABELLED, UNLABELLED, MAPS_ONLY = 5, 4, 3, 2, 1
APPLICATION = 0x4F585350  # "OXSP", in the file's header
CATALOGUE = "catalogue.sqlite"
FOLDERS = ("maps", "prints", "work", "reduced")
#: Further sets of probe images, each a space.
SETS = "sets"
MAX_MODELS = 2_000_000
BUSY_SECONDS = 60.0
_MAX_ROW = 16 * 2**20
_SETTINGS = ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = EXTRA", "mmap_size = 0")
_TABLES = (
    "CREATE TABLE space (facts TEXT NOT NULL, sum TEXT NOT NULL)",
    "CREATE TABLE model (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, stem TEXT NOT NULL UNIQUE, "
    "identity TEXT NOT NULL UNIQUE, content TEXT NOT NULL, facts TEXT NOT NULL, sum TEXT NOT NULL)",
    "CREATE INDEX by_content ON model (content)",
    "CREATE TABLE leftover (stem TEXT PRIMARY KEY)",
)
_LABELS = "CREATE TABLE label (identity TEXT PRIMARY KEY, facts TEXT NOT NULL, sum TEXT NOT NULL)"
_COLUMNS = "model.name, model.stem, model.identity, model.content, model.facts, model.sum"


class Catalogue:
    """An open catalogue, created by `open_catalogue`. Writes belong in a `transaction`.

    All methods raise SpaceError for a damaged file, and OutputError where it can't be read or written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Apply all writes of the block, or none; other processes can't write in the meantime."""
        with _sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _query(self, statement: str, *values: Any) -> list[Any]:
        with _sqlite_errors(self.path):
            return self._connection.execute(statement, values).fetchall()

    def protocol(self) -> Protocol:
        """Return the protocol of the space."""
        rows = self._query("SELECT facts, sum FROM space LIMIT 2")
        if len(rows) != 1 or rows[0][1] != _checksum(rows[0][0]):
            raise _damaged(self.path, "the record of the space's protocol has changed")
        try:
            return parse_protocol(rows[0][0])
        except (ValueError, RecursionError) as error:
            raise _damaged(self.path, str(error)) from error

    def entries(self) -> list[CatalogueEntry]:
        """Return all models in the order in which they were added. Raises SpaceError where a row's checksum is wrong."""
        return [_read_entry(self.path, row) for row in self._list_rows()]

    def list_with_architectures(self, architectures: Collection[str]) -> list[CatalogueEntry]:
        """Return the models whose pixels' record has one of these architectures, without reading the rows of all others."""
        return [entry for one in sorted(architectures) for entry in self._list_with("architecture", one)]

    def _list_with(self, key: str, value: str) -> list[CatalogueEntry]:
        """The models whose facts have this text somewhere, which SQLite searches without parsing them."""
        rows = self._select("WHERE instr(model.facts, ?) ORDER BY model.number", f"{json.dumps(key)}: {json.dumps(value)}")
        return [_read_entry(self.path, row) for row in rows]

    def list_with_path(self, path: str) -> list[CatalogueEntry]:
        """Return the models that were added from the file `path`, without reading the rows of all others."""
        return [entry for entry in self._list_with("path", path) if entry.path == path]

    def list_with_content(self, content: str) -> list[CatalogueEntry]:
        """Return the models of the same `content`, a file's SHA-256."""
        return [_read_entry(self.path, row) for row in self._select("WHERE model.content = ? ORDER BY model.number", content)]

    def names(self, most: int) -> list[str]:
        """Return the names of the first `most` models."""
        return [str(row[0]) for row in self._query("SELECT name FROM model ORDER BY number LIMIT ?", most)]

    def _select(self, rest: str, *values: Any) -> list[Any]:
        """Rows of models, each with the facts and the checksum of its labels, which are None where it has none."""
        if self._has_labels():
            labels, join = "label.facts, label.sum", "LEFT JOIN label ON label.identity = model.identity"
        else:
            labels, join = "NULL, NULL", ""
        return self._query(f"SELECT {_COLUMNS}, {labels} FROM model {join} {rest}", *values)

    def _has_labels(self) -> bool:
        return bool(self._query("SELECT 1 FROM sqlite_master WHERE name = 'label'"))

    def _list_rows(self) -> list[Any]:
        rows = self._select("ORDER BY model.number LIMIT ?", MAX_MODELS + 1)
        if len(rows) > MAX_MODELS:
            raise _damaged(self.path, f"it lists more than {MAX_MODELS} models")
        return rows

    def keys(self) -> set[bytes]:
        """Return the identities of all models, 32 bytes each, from SQLite's index, which is faster than reading their rows."""
        rows = self._query("SELECT identity FROM model LIMIT ?", MAX_MODELS + 1)
        try:
            keys = bytes.fromhex("".join(identity for (identity,) in rows))
        except (TypeError, ValueError) as error:
            raise _damaged(self.path, "a row has an invalid identity") from error
        found = {keys[first : first + 32] for first in range(0, len(keys), 32)}
        if len(rows) > MAX_MODELS or len(keys) != 32 * len(rows):
            raise _damaged(self.path, "a row has an invalid identity")
        return found

    def count(self) -> int:
        """Return the number of models."""
        return int(self._query("SELECT COUNT(*) FROM model")[0][0])

    def has_more_than(self, count: int) -> bool:
        """Return whether there are more than `count` models, without counting them all."""
        return bool(self._query("SELECT 1 FROM model LIMIT 1 OFFSET ?", count))

    def find_damage(self) -> list[str]:
        """Return a sentence for each kind of damage found in the file; empty where it is intact."""
        found = [str(row[0]) for row in self._query("PRAGMA integrity_check(20)")]
        sentences = [] if found == ["ok"] else [str(_damaged(self.path, text)) for text in found]
        for row in self._list_rows():
            try:
                _read_entry(self.path, row)
            except SpaceError as error:
                sentences.append(str(error))
        return [*sentences, *self._find_stray_labels()]

    def _find_stray_labels(self) -> list[str]:
        if not self._has_labels():
            return []
        rows = self._query("SELECT count(*) FROM label WHERE identity NOT IN (SELECT identity FROM model)")
        return [str(_damaged(self.path, f"it has labels of {rows[0][0]} models that it has not"))] if rows[0][0] else []

    def sound_entries(self) -> list[CatalogueEntry]:
        """Return the models whose rows have the right checksum."""
        sound = (row for row in self._list_rows() if row[5] == _checksum(*row[:5]))
        return [_read_entry(self.path, row if _has_sound_labels(row) else [*row[:6], None, None]) for row in sound]

    def find(self, column: Literal["name", "stem", "identity", "content"], value: str) -> CatalogueEntry | None:
        """Return the model whose `column` has this `value`, or None; of several with the same `content` the first."""
        rows = self._select(f"WHERE model.{column} = ? ORDER BY model.number LIMIT 1", value)
        return _read_entry(self.path, rows[0]) if rows else None

    def insert(self, entry: CatalogueEntry) -> None:
        """Add a model. Raises SpaceError where its name, stem or identity is taken."""
        row = (entry.name, entry.stem, entry.identity, entry.content, to_json(entry))
        self._query(
            "INSERT INTO model (name, stem, identity, content, facts, sum) VALUES (?, ?, ?, ?, ?, ?)", *row, _checksum(*row)
        )
        if entry.labels != Labels():
            self.label(entry, entry.labels)

    def label(self, entry: CatalogueEntry, labels: Labels) -> None:
        """Give a model these labels instead of its own; the first ones in a space make it one of format 3."""
        self.upgrade()
        facts = json.dumps(labels.to_dict(), sort_keys=True)
        values = (entry.identity, facts, _checksum(entry.identity, facts))
        self._query("INSERT OR REPLACE INTO label VALUES (?, ?, ?)", *values)

    def upgrade(self) -> None:
        """Make the space one with labels and sets, which older versions refuse, unless it is; belongs in a transaction."""
        if not self._has_labels():
            self._query(_LABELS)
            self._query(f"PRAGMA user_version = {LABELLED}")

    def move(self, entry: CatalogueEntry, moved: CatalogueEntry) -> None:
        """Record that the files of the model `entry` have the stem of `moved` now."""
        row = (moved.name, moved.stem, moved.identity, moved.content, to_json(moved))
        self._query("UPDATE model SET stem = ?, facts = ?, sum = ? WHERE stem = ?", row[1], row[4], _checksum(*row), entry.stem)

    def delete(self, entry: CatalogueEntry) -> None:
        """Remove a model, and note that its files may still exist."""
        self.note(file_stem(entry.stem))
        self._query("DELETE FROM model WHERE stem = ?", entry.stem)
        if self._has_labels():
            self._query("DELETE FROM label WHERE identity = ?", entry.identity)

    def uses(self, stem: str) -> bool:
        """Return whether a model has files of this stem, or a row of the sheet of this stem."""
        statement = "SELECT 1 FROM model WHERE stem = ? OR (stem > ? AND stem < ?) LIMIT 1"
        return bool(self._query(statement, stem, f"{stem}.", f"{stem}/"))  # "/" comes after "."

    def note(self, stem: str) -> None:
        """Note that files of this stem may exist without a model."""
        self._query("INSERT OR IGNORE INTO leftover VALUES (?)", stem)

    def is_noted(self, stem: str) -> bool:
        """Return whether files of this stem are noted as left over."""
        return bool(self._query("SELECT 1 FROM leftover WHERE stem = ?", stem))

    def forget(self, stem: str) -> None:
        """Remove the note on files of this stem."""
        self._query("DELETE FROM leftover WHERE stem = ?", stem)

    def leftovers(self) -> list[str]:
        """Return the stems of files that are noted as left over."""
        rows = self._query("SELECT stem FROM leftover LIMIT ?", MAX_MODELS)
        return [row[0] for row in rows if isinstance(row[0], str) and is_stem(row[0])]

    def shrink(self) -> None:
        """Release unused pages to the file system."""
        self._query("VACUUM")


@contextmanager
def open_catalogue(folder: Path) -> Iterator[Catalogue]:
    """Open the catalogue of the space `folder`.

    Raises SpaceError for a folder that is not a space, is damaged, or has a newer format, and OutputError where the file can't
    be read or written.
    """
    path = folder / CATALOGUE
    _refuse_foreign_folder(folder, path)
    with _sqlite_errors(path), closing(_connect(path, "rw")) as connection:
        _check(folder, path, connection)
        yield Catalogue(path, connection)


def write_catalogue(path: Path, protocol: Protocol) -> None:
    """Create a catalogue without models at `path`. Raises OutputError."""
    with _sqlite_errors(path), closing(_connect(path, "rwc")) as connection:
        facts = to_json(protocol)
        connection.execute("BEGIN IMMEDIATE")
        number = _choose_format(protocol)
        for statement in _list_tables(number):
            connection.execute(statement)
        connection.execute("INSERT INTO space VALUES (?, ?)", (facts, _checksum(facts)))
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def _choose_format(protocol: Protocol) -> int:
    """The number of the oldest format that has all of a protocol."""
    if PRECISION in protocol.options:
        return FORMAT
    return TARGETED if TARGET in protocol.options else MAPS_ONLY if protocol.detail == "maps" else UNLABELLED


def _list_tables(number: int) -> tuple[str, ...]:
    """The tables and indices of a space of format `number`."""
    return (*_TABLES, _LABELS) if number >= LABELLED else _TABLES


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_ROW)
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    return connection


def _refuse_foreign_folder(folder: Path, path: Path) -> None:
    if not folder.is_dir():
        what = "is a file, not a model space." if folder.exists() else describe_missing_folder(folder)
        raise SpaceError(f"{folder} {what} Make one with `onnxspace space create`.")
    if not path.is_file() or path.is_symlink():
        raise SpaceError(f"{folder} is not a model space: it has no {CATALOGUE}. Make one with `onnxspace space create`.")
    for name in (*FOLDERS, SETS):
        if (folder / name).is_symlink():
            raise SpaceError(f"{folder / name} is a symbolic link, which is not followed. Put the folder itself there.")


def _check(folder: Path, path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")  # one state of the file: another process may add a table
    try:
        _check_tables(folder, path, connection)
    finally:
        connection.execute("ROLLBACK")


def _check_tables(folder: Path, path: Path, connection: sqlite3.Connection) -> None:
    kind = connection.execute("PRAGMA application_id").fetchone()[0]
    number = connection.execute("PRAGMA user_version").fetchone()[0]
    if kind != APPLICATION:
        raise SpaceError(f"{folder} is not a model space: its {CATALOGUE} belongs to another program. Name another folder.")
    if number > FORMAT:
        raise SpaceError(
            f"{folder} was made by a newer onnxspace (format {number}; this one reads up to {FORMAT}). Upgrade onnxspace."
        )
    tables = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 100")}
    if number < 1 or tables != {*_list_tables(number), "CREATE TABLE sqlite_sequence(name,seq)"}:
        raise _damaged(path, "its tables are not those of its format")


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Convert SQLite's errors to sentences that name the file and what to do."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise SpaceError(f"{path} already holds a model of the same name or content ({error}). Add it again.") from error
    except sqlite3.OperationalError as error:
        raise _operational_error(path, error) from error
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise _damaged(path, str(error)) from error


def _operational_error(path: Path, error: sqlite3.OperationalError) -> Exception:
    words = str(error)
    if "locked" in words or "busy" in words:
        return OutputError(f"{path} is in use by another process ({words}). Wait for it to end, and try again.")
    if "malformed" in words or "no such" in words:
        return _damaged(path, words)
    return OutputError(f"{path} can't be read or written ({words}). Free some space, or check its permissions.")


def _read_entry(path: Path, row: Sequence[Any]) -> CatalogueEntry:
    try:
        if row[5] != _checksum(*row[:5]):
            raise ValueError("its checksum is wrong")
        entry = parse_entry(row[4])
        if (entry.name, entry.stem, entry.identity, entry.content) != tuple(row[:4]):
            raise ValueError("its columns contradict each other")
        if row[6] is not None:
            entry = replace(entry, labels=_read_labels(row))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the row of model {str(row[0])[:200]}: {error}") from error
    return entry


def _has_sound_labels(row: Sequence[Any]) -> bool:
    return row[6] is None or row[7] == _checksum(row[2], row[6])


def _read_labels(row: Sequence[Any]) -> Labels:
    if not _has_sound_labels(row):
        raise ValueError("the checksum of its labels is wrong")
    return parse_label_facts(row[6])


def _checksum(*texts: Any) -> str:
    """SHA-256 of the texts with a zero byte after each; empty for a row that is not all text."""
    if not all(isinstance(text, str) for text in texts):
        return ""
    return hashlib.sha256(b"".join(text.encode("utf-8", "surrogatepass") + b"\0" for text in texts)).hexdigest()


def _damaged(path: Path, why: str) -> SpaceError:
    return SpaceError(f"{path} is damaged ({why}). Restore it from a copy, or add the models to a new space.")
