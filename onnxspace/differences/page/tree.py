"""Rows folded into modules, and what stays the same folded away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from onnxspace.differences.page.rows import EQUAL, GraphRow

#: Equal rows in a run that are folded, and the most rows of one fold.
_LEAST_RUN, MOST_CHILDREN = 4, 100


@dataclass(frozen=True)
class Fold:
    """Rows that are folded into one: a module with its name, or a run of rows without a name. `kids` are places of rows, or folds."""

    name: str
    kids: tuple[Fold | int, ...]


def fold_rows(rows: Sequence[GraphRow]) -> tuple[Fold | int, ...]:
    """Fold rows into modules of modules, runs of equal rows, and long lists into parts.

    Rows of one module that do not follow each other are folded apart, so that all rows keep their order.
    """
    return _fold(rows, range(len(rows)), 0)


def _fold(rows: Sequence[GraphRow], places: Sequence[int], depth: int) -> tuple[Fold | int, ...]:
    kids: list[Fold | int] = []
    for name, run in groupby(places, lambda i: rows[i].path[depth] if len(rows[i].path) > depth else ""):
        members = list(run)
        if name and len(members) > 1:
            kids.append(_shorten_chain(Fold(name, _fold(rows, members, depth + 1))))
        else:
            kids += members
    return _cut(tuple(_fold_runs(rows, kids)) if depth == 0 or len(kids) > _LEAST_RUN else tuple(kids))


def _shorten_chain(fold: Fold) -> Fold:
    """A module whose only part is a module, as one."""
    only = fold.kids[0]
    if len(fold.kids) == 1 and isinstance(only, Fold) and only.name:
        joined = only.name if only.name.startswith(fold.name) else f"{fold.name}/{only.name}"
        return Fold(joined, only.kids)
    return fold


def _fold_runs(rows: Sequence[GraphRow], kids: Sequence[Fold | int]) -> Iterator[Fold | int]:
    """Rows one after the other that are equal, folded, unless all are."""
    runs = [(plain, list(run)) for plain, run in groupby(kids, lambda kid: isinstance(kid, int) and rows[kid].level == EQUAL)]
    for plain, run in runs:
        shown = sum(isinstance(kid, int) and not rows[kid].aside for kid in run)
        if plain and shown >= _LEAST_RUN and len(runs) > 1:
            yield Fold("", tuple(run))
        else:
            yield from run


def _cut(kids: tuple[Fold | int, ...]) -> tuple[Fold | int, ...]:
    """Long lists as parts, in as few levels as needed."""
    while len(kids) > MOST_CHILDREN:
        kids = tuple(Fold("", kids[i : i + MOST_CHILDREN]) for i in range(0, len(kids), MOST_CHILDREN))
    return kids
