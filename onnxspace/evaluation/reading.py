"""Reading of tables from untrusted CSV and JSON files, in the common layouts of results."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import TableError
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.storage.csv_text import read_cell
from onnxspace.storage.regular_files import NotRegularError, read_regular

Rows = list[list[str]]
_MOST_BYTES, _MOST_CELLS = 64 * 2**20, 16 * 2**20
_UNKNOWN = {"", "-", "–", "—", "nan", "na", "n/a", "none", "null"}
_SOURCES_DOWN = re.compile(r"(source|model)s?\s*[\\/|]\s*(target|dataset)s?", re.I)
_VALUES = ("value", "affinity", "accuracy", "score")
#: Columns of values where smaller is better, and those that number the repeats of one measurement.
_LOSSES = ("loss", "error")
_REPEATS = ("seed", "repeat", "run", "fold", "trial")
_FORMS = "A table has names along both sides, or columns target, source and value; see docs/evaluation.md."


class TableParts(NamedTuple):
    """The fields of a `Table`, in its order; `values` float64 [targets, sources], larger is better."""

    name: str
    path: str
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    values: NDArray[np.float64]
    ordinal: bool = False
    losses: bool = False


def read_table(path: Path) -> TableParts:
    """Read a table from the untrusted file `path`: JSON if its first character is `{` or `[`, else CSV.

    docs/evaluation.md lists the layouts. Raises TableError for a file that can't be read or is in none of them.
    """
    text = _read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _table_from_json(path, text)
    return _table_from_rows(path, _read_cells(path, text))


def read_aliases(path: Path) -> dict[str, str]:
    """Read a mapping from other names to names, from a CSV file of two columns or a JSON object of strings.

    Raises TableError for a file that can't be read or has another layout.
    """
    text = _read_text(path)
    pairs: list[Any] = list(_parse_json(path, text).items()) if text.lstrip()[:1] == "{" else list(_read_cells(path, text))
    if not all(len(pair) == 2 and isinstance(pair[1], str) for pair in pairs):
        raise TableError(
            f"{path} is not a list of aliases. Write lines such as `other name,name`, or a JSON object of strings."
        )
    return dict(pairs)


def read_pairs(path: Path, extra: Sequence[str]) -> list[tuple[str, str, float, *tuple[str, ...]]]:
    """Read a table in any of its layouts as rows of target, source, value and the columns `extra`, empty where it lacks them.

    Unknown values are left out. Raises TableError.
    """
    found = read_table(path)
    notes = _read_notes(path, extra)
    return [
        (target, source, float(value), *notes.get((target, source), [""] * len(extra)))
        for target, row in zip(found.targets, found.values, strict=True)
        for source, value in zip(found.sources, row, strict=True)
        if np.isfinite(value)
    ]


def _read_notes(path: Path, extra: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The columns `extra` of a CSV file with a line per pair, by target and source; empty for other layouts."""
    text = _read_text(path)
    rows = [] if text.lstrip()[:1] in ("{", "[") else _read_cells(path, text)
    head = [cell.lower() for cell in rows[0]] if rows else []
    if not {"target", "source", *extra} <= set(head):
        return {}
    target, source, *columns = (head.index(name) for name in ("target", "source", *extra))
    return {(row[target], row[source]): [row[column] for column in columns] for row in rows[1:]}


def _read_cells(path: Path, text: str) -> Rows:
    """The lines that are not empty, with cells stripped of whitespace."""
    try:
        rows = [[read_cell(cell.strip()) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise TableError(f"{path} is not a CSV file ({error}). {_FORMS}") from error
    return [row for row in rows if any(row)]


def _read_text(path: Path) -> str:
    try:
        content = read_regular(path, _MOST_BYTES)
    except (IsADirectoryError, NotRegularError) as error:
        raise TableError(f"{path} is not a file. Name a table as .csv or .json.") from error
    except FileNotFoundError as error:
        raise TableError(f"{path}: {describe_missing_file(path)}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TableError(f"{path} can't be read ({reason}). Check the path.") from error
    if len(content) > _MOST_BYTES:
        raise TableError(f"{path} is larger than {_MOST_BYTES >> 20} MiB. Remove what is not to be compared.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 text. {_FORMS}") from error


def _table_from_rows(path: Path, rows: Rows) -> TableParts:
    if len(rows) < 2 or len(rows[0]) < 2:
        raise TableError(f"{path} is not a table. {_FORMS}")
    head = [cell.lower() for cell in rows[0]]
    for number, row in enumerate(rows, 1):
        if len(row) != len(head):
            raise TableError(f"{path} has {len(row)} cells in line {number} and {len(head)} in the first. {_FORMS}")
    if {"target", "source"} <= set(head):
        return _table_from_pairs(path, head, rows[1:])
    if head[0] == "target" and head[1:] == [f"rank{place}" for place in range(1, len(head))]:
        return _table_from_orders(path, rows[1:])
    values = [[_read_number(path, cell, row[0]) for cell in row[1:]] for row in rows[1:]]
    found = _make_table(path, [row[0] for row in rows[1:]], rows[0][1:], np.array(values))
    if _SOURCES_DOWN.fullmatch(rows[0][0]):
        return found._replace(targets=found.sources, sources=found.targets, values=found.values.T)
    return found


def _table_from_pairs(path: Path, head: Sequence[str], rows: Rows) -> TableParts:
    target, source, column = head.index("target"), head.index("source"), _find_values(path, head)
    pairs = [(row[target], row[source], _read_number(path, row[column], row[target])) for row in rows]
    repeats = [i for i, name in enumerate(head) if name in _REPEATS]
    if repeats:
        pairs = _average_repeats(path, pairs, [tuple(row[i] for i in repeats) for row in rows])
    found = _table_from_triples(path, pairs)
    if head[column] == "rank":
        return found._replace(values=-found.values, ordinal=True)
    return found._replace(values=-found.values, losses=True) if head[column] in _LOSSES else found


def _find_values(path: Path, head: Sequence[str]) -> int:
    """The column of values: one with a usual name, else the only one that is left."""
    others = [i for i, name in enumerate(head) if name not in ("target", "source", *_REPEATS)]
    named = [i for i in others if head[i] in (*_VALUES, *_LOSSES)] or [i for i in others if head[i] != "rank"] or others
    if len(named) != 1:
        raise TableError(f"{path} needs exactly one column of values. Name it `value`, beside `target` and `source`.")
    return named[0]


def _average_repeats(
    path: Path, pairs: Sequence[tuple[str, str, float]], repeats: Sequence[tuple[str, ...]]
) -> list[tuple[str, str, float]]:  # fmt: skip
    """The mean of each pair over its repeats whose value is known; each repeat is there once."""
    found: dict[tuple[str, str], dict[tuple[str, ...], float]] = {}
    for (target, source, value), repeat in zip(pairs, repeats, strict=True):
        of_pair = found.setdefault((target, source), {})
        if repeat in of_pair:
            raise TableError(f"{path} has two values for target {target} and source {source} of one repeat. Remove one.")
        of_pair[repeat] = value
    return [(target, source, _average(values.values())) for (target, source), values in found.items()]


def _average(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _table_from_orders(path: Path, rows: Rows) -> TableParts:
    """From a line per target with its sources in order: the values are negated ranks."""
    pairs = [(row[0], source, -float(place)) for row in rows for place, source in enumerate(row[1:], 1) if source]
    return _table_from_triples(path, pairs)._replace(ordinal=True)


def _table_from_triples(path: Path, pairs: Sequence[tuple[str, str, float]]) -> TableParts:
    targets = {name: i for i, name in enumerate(dict.fromkeys(pair[0] for pair in pairs))}
    sources = {name: j for j, name in enumerate(dict.fromkeys(pair[1] for pair in pairs))}
    if len(targets) * len(sources) > _MOST_CELLS:
        raise TableError(f"{path} has {len(targets)} targets × {len(sources)} sources, too many to compare at once.")
    values = np.full((len(targets), len(sources)), np.nan)
    for target, source, value in pairs:
        if not np.isnan(values[targets[target], sources[source]]):
            raise TableError(f"{path} has two values for target {target} and source {source}. Remove one.")
        values[targets[target], sources[source]] = value
    return _make_table(path, list(targets), list(sources), values)


def _parse_json(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not a JSON file ({str(error)[:100]}). {_FORMS}") from error
    if not isinstance(found, dict):
        raise TableError(f"{path} does not hold a JSON object. {_FORMS}")
    return found


def _table_from_json(path: Path, text: str) -> TableParts:
    """From the JSON output of `score` or `space affinity`; names and a matrix; or an object of objects, one per target.

    Of several scores it reads the one that ranks sources.
    """
    found = _parse_json(path, text)
    matrix = found.get("affinity", found.get("matrix"))
    if isinstance(scores := found.get("scores"), Mapping):
        first = next(iter(scores.values()), None) if matrix is None else matrix
        matrix = scores.get(found.get("ranked_by"), first)
    names = found.get("models", found.get("names", found.get("tasks")))
    if isinstance(matrix, list) and isinstance(names, list):
        given = [name.get("name") if isinstance(name, dict) else name for name in names]
        plain = [name for name in given if isinstance(name, str)]
        if len(plain) != len(given) or any(not isinstance(row, list) for row in matrix):
            raise TableError(f"{path} has no matrix with a name for each row. {_FORMS}")
        if len(matrix) != len(plain) or any(len(row) != len(plain) for row in matrix):
            raise TableError(f"{path} has {len(plain)} names, but its matrix is not {len(plain)} × {len(plain)}. {_FORMS}")
        return _make_table(path, plain, plain, np.array([[_read_json_value(path, cell) for cell in row] for row in matrix]))
    if not found or not all(isinstance(row, Mapping) for row in found.values()):
        raise TableError(f"{path} does not hold a table. {_FORMS}")
    return _table_from_triples(path, [(t, s, _read_json_value(path, v)) for t, row in found.items() for s, v in row.items()])


def _read_json_value(path: Path, cell: object) -> float:
    if cell is None:
        return float("nan")
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise TableError(f"{path} has {str(cell)[:40]!r} in place of a number or null. {_FORMS}")
    return _check_bounds(path, cell, "an entry")


def _read_number(path: Path, cell: str, row: str) -> float:
    if cell.lower() in _UNKNOWN:
        return float("nan")
    try:
        return _check_bounds(path, float(cell), row)
    except ValueError as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path} has {cell[:40]!r} in the line of {row}, which is not a number. {_FORMS}") from error


def _check_bounds(path: Path, value: float, where: str) -> float:
    if abs(value) <= 1e300 or value != value:  # NaN, and integers of any length
        return float(value)
    raise TableError(f"{path} has an infinite value in the line of {where}. Leave the cell empty where the value is unknown.")


def _make_table(path: Path, targets: Sequence[str], sources: Sequence[str], values: NDArray[np.float64]) -> TableParts:
    if not targets or not sources or not all(targets) or not all(sources):
        raise TableError(f"{path} has no names, or a line or a column without one. {_FORMS}")
    return TableParts(path.stem, str(path), tuple(targets), tuple(sources), values)
