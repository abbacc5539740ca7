"""What the script of the page reads, as JSON: rows, folds, nodes of both graphs, and the table of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onnxspace.differences.page.rows import EQUAL, GraphRow, list_rows
from onnxspace.differences.page.tree import Fold, fold_rows
from onnxspace.differences.page.weights import describe_weights
from onnxspace.differences.result import COLUMNS, STATUSES, GraphDetails, LayerRow, ModelDiff, Node, NodeDetails
from onnxspace.storage.printable import shorten

#: Rows of a page at most; equal ones are left out first.
MOST_ROWS = 20_000
#: Characters of all names of a page, and of one, of which the largest that fits is used.
_ALL_NAMES, _LENGTHS = 3_000_000, (240, 120, 60, 30)
Shorten = Callable[[str], str]
Attributes = dict[tuple[tuple[str, str], ...], int]


@dataclass(frozen=True)
class PageContent:
    """The content of the page: its `rows`, the JSON that the script reads, and how many rows are left out."""

    rows: tuple[GraphRow, ...]
    data: dict[str, Any]
    left_out: int


def make_content(found: ModelDiff, details: GraphDetails) -> PageContent:
    """The content of a page about `found`."""
    listed = list_rows(found, details)
    rows, short, attributes = limit_rows(listed), make_shortener(found), Attributes()
    nodes = list(_describe_sides(found, rows, details, attributes, short))
    data = {
        "statuses": STATUSES, "columns": COLUMNS, "rows": [_describe_row(found, row) for row in rows],
        "tree": [_describe_fold(kid, short) for kid in fold_rows(rows)], "nodes": nodes,
        "attributes": [[[short(name), short(value)] for name, value in each] for each in attributes],
        "layers": list(_describe_layers(found, rows, short)),
    }  # fmt: skip
    return PageContent(rows, data, len(listed) - len(rows))


def limit_rows(rows: Sequence[GraphRow], most: int = MOST_ROWS) -> tuple[GraphRow, ...]:
    """At most so many rows, in their order, those that changed most before others."""
    if len(rows) <= most:
        return tuple(rows)
    kept = sorted(range(len(rows)), key=lambda i: (rows[i].aside and rows[i].level == EQUAL, -rows[i].level))[:most]
    return tuple(rows[i] for i in sorted(kept))


def make_shortener(found: ModelDiff) -> Shorten:
    """A function that makes names printable, and so short that all of them fit."""
    names = [len(node.name) for group in found.groups for node in (*group.old, *group.new)]
    names += [len(name) for row in found.layers for name in (row.old, row.new)]
    longest = next((most for most in _LENGTHS if sum(min(one, most) for one in names) <= _ALL_NAMES), _LENGTHS[-1])
    return lambda name: shorten(name, longest)


def _describe_row(found: ModelDiff, row: GraphRow) -> list[Any]:
    group = found.groups[row.group]
    facts = [list(STATUSES).index(group.status), row.level, int(row.aside), list(row.old), list(row.new)]
    return [*facts, group.error, group.own_error, describe_weights(group.weights), int(group.matters)]


def _describe_fold(kid: Fold | int, short: Shorten) -> Any:
    return kid if isinstance(kid, int) else [short(kid.name), *(_describe_fold(one, short) for one in kid.kids)]


def _describe_sides(
    found: ModelDiff, rows: Sequence[GraphRow], details: GraphDetails, attributes: Attributes, short: Shorten
) -> Iterator[list[Any]]:
    """The nodes of each graph by their places; those that are on no row are None."""
    for side, graph in enumerate((details.old, details.new)):
        described: list[Any] = [None] * len(graph)
        for row in rows:
            group = found.groups[row.group]
            for place, node in zip((row.old, row.new)[side], (group.old, group.new)[side], strict=True):
                described[place] = _describe_node(node, graph[place], attributes, short)
        yield described


def _describe_node(node: Node, known: NodeDetails, attributes: Attributes, short: Shorten) -> list[Any]:
    operator = f"{node.domain}:{node.op}" if node.domain not in ("", "ai.onnx") else node.op
    place = attributes.setdefault(known.attributes, len(attributes))
    shape = None if known.shape is None else list(known.shape)
    return [short(node.name), short(operator), place, shape, known.dtype, list(known.reads)]


def _describe_layers(found: ModelDiff, rows: Sequence[GraphRow], short: Shorten) -> Iterator[list[Any]]:
    """The rows of the table, each with the place of its row of the graphs, -1 where that is left out."""
    places = {node: i for i, row in enumerate(rows) for node in row.new}
    for layer in found.layers:
        yield [places.get(layer.place, -1), *(_write_cell(layer, column, short) for column in COLUMNS)]


def _write_cell(layer: LayerRow, column: str, short: Shorten) -> Any:
    value = getattr(layer, column)
    if column == "status":
        return list(STATUSES).index(value)
    if isinstance(value, tuple):
        return list(value)
    return short(value) if isinstance(value, str) else value
