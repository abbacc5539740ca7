"""JSON Schema of what `--json` prints, from the tables of keys in the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Pages with tables below `<!-- schema: NAME -->`.
PAGES = ("json.md", "evaluation.md")
_TABLE = re.compile(r"<!-- schema: (\S+) -->\n((?:\|.*\n)+)")


def read_schemas(text: str) -> dict[str, dict[str, Any]]:
    """The schemas of a page's tables by their names, such as `onnxspace/score/2`."""
    return {name: _make_schema(name, table.splitlines()[2:]) for name, table in _TABLE.findall(text)}


def _make_schema(name: str, lines: list[str]) -> dict[str, Any]:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    keys = [(key, optional, kind) for names, kind, _ in cells for key, optional in re.findall(r"`(\w+)`(\??)", names)]
    properties: Mapping[str, Any] = {key: {"type": _list_types(kind)} for key, _, kind in keys}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "properties": {**properties, "schema": {"const": name}},
        "required": [key for key, optional, _ in keys if not optional],
    }


def _list_types(kind: str) -> list[str]:
    return kind.split(" or ")


def file_name(name: str) -> str:
    """`onnxspace/score/2` → `schemas/score-2.json`."""
    return f"schemas/{name.removeprefix('onnxspace/').replace('/', '-')}.json"
