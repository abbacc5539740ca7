"""Tables from files that nobody vouches for: CSV and JSON, in the forms in which results come."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import TableError
from onnxspace.evaluation.table import Table

Rows = list[list[str]]
_MOST_BYTES, _MOST_CELLS = 64 * 2**20, 16 * 2**20
_UNKNOWN = {"", "-", "–", "—", "nan", "na", "n/a", "none", "null"}
_SOURCES_DOWN = re.compile(r"(source|model)s?\s*[\\/|]\s*(target|dataset)s?", re.I)
_VALUES = ("value", "affinity", "accuracy", "score")
_FORMS = "A table has names along both sides, or columns target, source and value; see docs/evaluation.md."


def read_table(path: Path) -> Table:
    """A table of a CSV file, or of a JSON file whose first character is `{`. Raises TableError."""
    text = _text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _from_json(path, text)
    return _from_rows(path, _cells(path, text))


def read_aliases(path: Path) -> dict[str, str]:
    """Other names → names, from a CSV file of two columns or a JSON object of texts. Raises TableError."""
    text = _text(path)
    pairs: list[Any] = list(_parsed(path, text).items()) if text.lstrip()[:1] == "{" else list(_cells(path, text))
    if not all(len(pair) == 2 and isinstance(pair[1], str) for pair in pairs):
        raise TableError(f"{path} is no list of aliases. Write lines such as `other name,name`, or a JSON object of texts.")
    return dict(pairs)


def _cells(path: Path, text: str) -> Rows:
    """The lines that are not empty, cells without blanks around them."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise TableError(f"{path} is no CSV file ({error}). {_FORMS}") from error
    return [row for row in rows if any(row)]


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise TableError(f"{path} is no file. Name a table as .csv or .json.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path} can't be read ({reason}). Check the path.") from error
    if len(content) > _MOST_BYTES:
        raise TableError(f"{path} is larger than {_MOST_BYTES >> 20} MiB. Leave out what is not to be compared.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not text in UTF-8. {_FORMS}") from error


def _from_rows(path: Path, rows: Rows) -> Table:
    if len(rows) < 2 or len(rows[0]) < 2:
        raise TableError(f"{path} is no table. {_FORMS}")
    head = [cell.lower() for cell in rows[0]]
    for number, row in enumerate(rows, 1):
        if len(row) != len(head):
            raise TableError(f"{path} has {len(row)} cells in line {number} and {len(head)} in the first. {_FORMS}")
    if {"target", "source"} <= set(head):
        return _from_pairs(path, head, rows[1:])
    if head[0] == "target" and head[1:] == [f"rank{place}" for place in range(1, len(head))]:
        return _from_orders(path, rows[1:])
    values = [[_number(path, cell, row[0]) for cell in row[1:]] for row in rows[1:]]
    found = _table(path, [row[0] for row in rows[1:]], rows[0][1:], np.array(values))
    return found.transposed() if _SOURCES_DOWN.fullmatch(rows[0][0]) else found


def _from_pairs(path: Path, head: Sequence[str], rows: Rows) -> Table:
    target, source = head.index("target"), head.index("source")
    others = [i for i, name in enumerate(head) if i not in (target, source)]
    named = [i for i in others if head[i] in _VALUES] or [i for i in others if head[i] != "rank"] or others
    if len(named) != 1:
        raise TableError(f"{path} has no one column of values. Name it `value`, beside `target` and `source`.")
    found = _filled(path, [(row[target], row[source], _number(path, row[named[0]], row[target])) for row in rows])
    return replace(found.negated(), ordinal=True) if head[named[0]] == "rank" else found


def _from_orders(path: Path, rows: Rows) -> Table:
    """A line per target, its sources in order: the negated rank is the value."""
    pairs = [(row[0], source, -float(place)) for row in rows for place, source in enumerate(row[1:], 1) if source]
    return replace(_filled(path, pairs), ordinal=True)


def _filled(path: Path, pairs: Sequence[tuple[str, str, float]]) -> Table:
    targets = {name: i for i, name in enumerate(dict.fromkeys(pair[0] for pair in pairs))}
    sources = {name: j for j, name in enumerate(dict.fromkeys(pair[1] for pair in pairs))}
    if len(targets) * len(sources) > _MOST_CELLS:
        raise TableError(f"{path} has {len(targets)} targets × {len(sources)} sources, too many to compare at once.")
    values = np.full((len(targets), len(sources)), np.nan)
    for target, source, value in pairs:
        if not np.isnan(values[targets[target], sources[source]]):
            raise TableError(f"{path} has two values for target {target} and source {source}. Leave one.")
        values[targets[target], sources[source]] = value
    return _table(path, list(targets), list(sources), values)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is no JSON file ({str(error)[:100]}). {_FORMS}") from error
    if not isinstance(found, dict):
        raise TableError(f"{path} holds no JSON object. {_FORMS}")
    return found


def _from_json(path: Path, text: str) -> Table:
    """What `--json` of `score` or `space affinity` prints; names and a matrix; or an object of objects, a target each.

    Of several scores it is the one that ranks.
    """
    found = _parsed(path, text)
    matrix = found.get("affinity", found.get("matrix"))
    if isinstance(scores := found.get("scores"), Mapping) and isinstance(ranks := found.get("ranked_by"), str):
        matrix = scores.get(ranks, matrix)
    names = found.get("models", found.get("names", found.get("tasks")))
    if isinstance(matrix, list) and isinstance(names, list):
        said = [name.get("name") if isinstance(name, dict) else name for name in names]
        plain = [name for name in said if isinstance(name, str)]
        if len(plain) != len(said) or any(not isinstance(row, list) for row in matrix):
            raise TableError(f"{path} has no matrix with a name for each row. {_FORMS}")
        if len(matrix) != len(plain) or any(len(row) != len(plain) for row in matrix):
            raise TableError(f"{path} has a matrix that is not {len(plain)} × {len(plain)}, as its names are. {_FORMS}")
        return _table(path, plain, plain, np.array([[_value(path, cell) for cell in row] for row in matrix]))
    if not found or not all(isinstance(row, Mapping) for row in found.values()):
        raise TableError(f"{path} holds no table. {_FORMS}")
    return _filled(path, [(t, s, _value(path, v)) for t, row in found.items() for s, v in row.items()])


def _value(path: Path, cell: object) -> float:
    if cell is None:
        return float("nan")
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise TableError(f"{path} has {str(cell)[:40]!r} where a number or null belongs. {_FORMS}")
    return _bounded(path, cell, "an entry")


def _number(path: Path, cell: str, row: str) -> float:
    if cell.lower() in _UNKNOWN:
        return float("nan")
    try:
        return _bounded(path, float(cell), row)
    except ValueError as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path} has {cell[:40]!r} in the line of {row}, which is no number. {_FORMS}") from error


def _bounded(path: Path, value: float, where: str) -> float:
    if abs(value) <= 1e300 or value != value:  # NaN, and integers of any length
        return float(value)
    raise TableError(f"{path} has an infinite value in the line of {where}. Leave the cell empty where nothing is known.")


def _table(path: Path, targets: Sequence[str], sources: Sequence[str], values: NDArray[np.float64]) -> Table:
    if not targets or not sources or not all(targets) or not all(sources):
        raise TableError(f"{path} has no names, or a line or a column without one. {_FORMS}")
    return Table(path.stem, str(path), tuple(targets), tuple(sources), values)
