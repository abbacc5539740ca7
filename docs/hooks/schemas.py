"""JSON Schema of what `--json` prints, from the tables of keys in the documentation.

The second column of a table is a type: `string`, `number`, `integer`, `boolean`, `null`, `object`, `array`, the name of an object that
has a table of its own, `array of TYPE`, `map of TYPE` (an object whose keys are names), or several of these joined by `or`. What
follows `of` is all one type: `array of number or null` has null among its items, `null or array of number` may be null itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Pages with tables below `<!-- schema: NAME -->` and `<!-- object: NAME -->`; one that `extends OTHER` has its keys too.
PAGES = ("json.md", "evaluation.md")
_TABLE = re.compile(r"<!-- (schema|object): (\S+)(?: extends (\S+))? -->\n((?:\|.*\n)+)")
_PLAIN = ("string", "number", "integer", "boolean", "null", "object", "array")


@dataclass(frozen=True)
class Table:
    """Keys with their types, which of them are always there, and the object whose keys come first (empty: none)."""

    keys: Mapping[str, str]
    required: tuple[str, ...]
    base: str


def read_schemas(docs: Path) -> dict[str, dict[str, Any]]:
    """The schemas of the pages in the folder `docs` by their names, such as `onnxspace/score/2`."""
    found = [match for page in PAGES for match in _TABLE.findall((docs / page).read_text("utf-8"))]
    tables = {name: _read_table(rows, base) for _, name, base, rows in found}
    schemas = [name for kind, name, *_ in found if kind == "schema"]
    return {name: _make_schema(name, _extend(tables[name], tables), tables) for name in schemas}


def _read_table(rows: str, base: str) -> Table:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in rows.splitlines()[2:]]
    keys = [(key, optional, kind) for names, kind, _ in cells for key, optional in re.findall(r"`(\w+)`(\??)", names)]
    return Table({key: kind for key, _, kind in keys}, tuple(key for key, optional, _ in keys if not optional), base)


def _extend(table: Table, objects: Mapping[str, Table]) -> Table:
    if not table.base:
        return table
    base = _extend(objects[table.base], objects)
    required = dict.fromkeys((*base.required, *table.required))
    return Table({**base.keys, **table.keys}, tuple(required), "")


def _make_schema(name: str, table: Table, objects: Mapping[str, Table]) -> dict[str, Any]:
    used = dict.fromkeys(_find_objects(table, objects))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **_make_object(table),
        "$defs": {one: _make_object(_extend(objects[one], objects)) for one in used},
    } | {"properties": {**_make_object(table)["properties"], "schema": {"const": name}}}


def _find_objects(table: Table, objects: Mapping[str, Table]) -> Iterator[str]:
    """The objects that a table needs, and those that these need."""
    for kind in table.keys.values():
        for name in re.split(r" or |array of |map of ", kind):
            if name and name not in _PLAIN:
                yield name
                yield from _find_objects(_extend(objects[name], objects), objects)


def _make_object(table: Table) -> dict[str, Any]:
    properties = {key: parse_type(kind) for key, kind in table.keys.items()}
    return {"type": "object", "properties": properties, "required": list(table.required)}


def parse_type(kind: str) -> dict[str, Any]:
    """The schema of a type.

    >>> parse_type("array of number or null")
    {'type': 'array', 'items': {'anyOf': [{'type': 'number'}, {'type': 'null'}]}}
    """
    for word, make in (("array of ", _make_array), ("map of ", _make_map)):
        if kind.startswith(word):
            return make(parse_type(kind.removeprefix(word)))
    first, _, rest = kind.partition(" or ")
    one = {"type": first} if first in _PLAIN else {"$ref": f"#/$defs/{first}"}
    return {"anyOf": [one, parse_type(rest)]} if rest else one


def _make_array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _make_map(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def close(schema: Any) -> Any:
    """The schema without room for keys that it does not list, for tests of what this version prints."""
    if isinstance(schema, list):
        return [close(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema and "type" in schema else closed


def file_name(name: str) -> str:
    """`onnxspace/score/2` → `schemas/score-2.json`."""
    return f"schemas/{name.removeprefix('onnxspace/').replace('/', '-')}.json"
