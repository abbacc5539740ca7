"""The rows of both graphs: a group of nodes that correspond each, in one order for both graphs, and the modules they are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxspace.differences.result import GraphDetails, ModelDiff, NodeDetails, NodeGroup

#: The modules that something is in, the outermost first.
Path = tuple[str, ...]
#: How much a reader wants to see a row: from 0 (nothing changed) to 3 (it changes values).
EQUAL, FOLLOWS, REWRITTEN, DEPARTS = range(4)
#: The share of nodes of one graph that have modules from which on these are taken, relative to the other graph.
_ENOUGH = 0.7


@dataclass(frozen=True)
class GraphRow:
    """A group of nodes: its place in `ModelDiff.groups`, those of its nodes in both graphs, the modules it is in, and its level.

    `aside` says that no values of the image pass through it: it holds constants, or computes shapes.
    """

    group: int
    old: tuple[int, ...]
    new: tuple[int, ...]
    path: Path
    level: int
    aside: bool


def list_rows(found: ModelDiff, details: GraphDetails) -> list[GraphRow]:
    """All groups as rows, in the order of the new graph; nodes that were removed follow those that they followed in the old one."""
    rows = [_make_row(i, group, details) for i, group in enumerate(found.groups)]
    return _name_modules(_sort_rows(rows, details), details)


def _make_row(index: int, group: NodeGroup, details: GraphDetails) -> GraphRow:
    old, new = details.places[index]
    aside = not any(details.old[i].moves_data for i in old) and not any(details.new[i].moves_data for i in new)
    return GraphRow(index, old, new, (), find_level(group, aside=aside), aside)


def find_level(group: NodeGroup, *, aside: bool) -> int:
    """How much a reader wants to see a group."""
    if group.status == "departs" or group.matters:
        return DEPARTS
    if group.status in ("added", "removed"):
        computes = any(node.computes for node in (*group.old, *group.new))
        return EQUAL if aside else REWRITTEN if computes else FOLLOWS
    if group.status == "replaced":
        return REWRITTEN
    kind = (group.weights or {}).get("kind", "equal")
    return EQUAL if group.status == "equal" and kind == "equal" else FOLLOWS


def _sort_rows(rows: Sequence[GraphRow], details: GraphDetails) -> list[GraphRow]:
    keys = {row.group: (float(_last(row.new, details.new)), 0, 0) for row in rows if row.new}
    anchor = -1.0
    for row in sorted((row for row in rows if row.old), key=lambda row: _last(row.old, details.old)):
        if row.new:
            anchor = keys[row.group][0]
        else:
            keys[row.group] = (anchor, 1, _last(row.old, details.old))
    return sorted(rows, key=lambda row: keys[row.group])


def _last(places: Sequence[int], nodes: Sequence[NodeDetails]) -> int:
    """The place of the last node of a group that values pass through: constants may be far away."""
    return max((place for place in places if nodes[place].moves_data), default=min(places))


def _name_modules(rows: Sequence[GraphRow], details: GraphDetails) -> list[GraphRow]:
    """The rows with their modules: those of the graph that names more of them."""
    sides = [[_path_of(row.old, details.old) for row in rows], [_path_of(row.new, details.new) for row in rows]]
    shares = [sum(map(bool, paths)) for paths in sides]
    main = 1 if shares[1] >= _ENOUGH * shares[0] else 0
    alike = _are_alike(sides)
    paths = [_choose_path(row, (first, second), main, alike) for row, first, second in zip(rows, *sides, strict=True)]
    complete = _strip_root(_fill_gaps(paths))
    return [replace(row, path=path) for row, path in zip(rows, complete, strict=True)]


def _path_of(places: Sequence[int], nodes: Sequence[NodeDetails]) -> Path | None:
    return nodes[_last(places, nodes)].module if places else None


def _are_alike(sides: Sequence[Sequence[Path | None]]) -> bool:
    """Whether both graphs name modules in one way."""
    both = [first == second for first, second in zip(*sides, strict=True) if first and second]
    return bool(both) and sum(both) > len(both) / 2


def _choose_path(row: GraphRow, paths: tuple[Path | None, Path | None], main: int, alike: bool) -> Path | None:
    """The path of a row; None where it is to be that of its neighbours."""
    if (row.old, row.new)[main]:
        return paths[main]
    return paths[1 - main] if alike else None


def _fill_gaps(paths: Sequence[Path | None]) -> list[Path]:
    """Rows without a path get what the paths before and after them have in common."""
    after: list[Path] = []
    following: Path = ()
    for path in reversed(paths):
        following = path if path is not None else following
        after.append(following)
    filled = list[Path]()
    before: Path = ()
    for path, ahead in zip(paths, reversed(after), strict=True):
        before = path if path is not None else before
        filled.append(_common(before, ahead) if path is None else path)
    return filled


def _common(first: Path, second: Path) -> Path:
    count = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    return first[:count]


def _strip_root(paths: Sequence[Path]) -> list[Path]:
    """The paths without what nearly all of them begin with, such as the name of the network."""
    while paths:
        first, count = Counter(path[:1] for path in paths).most_common(1)[0]
        if not first or count < 0.9 * len(paths) or all(len(path) == 1 for path in paths if path):
            break
        paths = [path[1:] if path[:1] == first else path for path in paths]
    return list(paths)
