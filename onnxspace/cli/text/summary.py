"""What `onnxspace score` prints of many models: groups of those that are alike, and the first source for each target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxspace.cli.text.lines import format_number, one_line, wrap

if TYPE_CHECKING:
    from onnxspace.similarity.affinity import Affinity
    from onnxspace.similarity.ranking import Ranking

#: The mean affinity at which models form a group in what is printed: a convention; no ranking or check depends on it.
ALIKE = 0.5


def summarise(result: Affinity) -> Iterator[str]:
    """The groups of models that are alike, where the matrix is one of affinities."""
    if result.by != "attribution":
        return
    from onnxspace.spaces.neighbours import DUPLICATE

    groups = find_groups(result)
    yield ""
    yield from wrap(
        f"Groups with an affinity of {ALIKE} or more on average (the number), joined by = where it is {DUPLICATE} or more, as of "
        "copies of one network"
    )
    for members in groups:
        if len(members) > 1:
            yield from _describe_group(result, members, DUPLICATE)
    alone = [one_line(result.names[members[0]]) for members in groups if len(members) == 1]
    if alone:
        yield from wrap(f"In no group: {', '.join(alone)}", rest="  ")


def find_groups(result: Affinity, least: float = ALIKE) -> list[list[int]]:
    """Return the positions of the models of each group, largest group first, by average linkage.

    The mean affinity of two subgroups of a group is at least `least`.
    """
    from scipy.cluster.hierarchy import fcluster

    numbers = fcluster(result.tree(), 1 - least, "distance") if len(result.names) > 1 else np.ones(len(result.names))
    groups = [np.flatnonzero(numbers == number).tolist() for number in dict.fromkeys(numbers.tolist())]
    return sorted(groups, key=len, reverse=True)


def _describe_group(result: Affinity, members: Sequence[int], copy: float) -> Iterator[str]:
    """One group: its mean affinity, and the names, copies beside each other."""
    values = result.matrix[np.ix_(members, members)]
    mean = values[np.triu_indices(len(members), 1)].mean()
    words = ", ".join(" = ".join(one_line(result.names[members[i]]) for i in part) for part in _join_copies(values, copy))
    yield from wrap(f"{format_number(mean)}  {words}", rest=" " * 8)


def _join_copies(values: NDArray[np.float64], copy: float) -> list[list[int]]:
    """The rows of a matrix by connected copies, in the order of their first rows."""
    from scipy.sparse.csgraph import connected_components

    numbers = connected_components(values >= copy, directed=False)[1]
    return [np.flatnonzero(numbers == number).tolist() for number in dict.fromkeys(numbers.tolist())]


def first_sources(result: Affinity, targets: Sequence[str]) -> Iterator[str]:
    """A line per target: its first source, the value, and how many others can't be told apart from that one."""
    ranked = [result.rank(name) for name in targets]
    wide = max(len(one_line(name)) for name in result.names)
    for by, kin in dict.fromkeys((one.by, one.lists_kin) for one in ranked):
        words = "Most alike to each model" if kin else "First source for each model"
        yield f"{words}, by {'affinity of maps' if by == 'attribution' else one_line(by)}"
        for one in ranked:
            if (one.by, one.lists_kin) == (by, kin):
                yield from wrap(_describe_first(one, wide), "  ", "    ")
        yield ""


def _describe_first(ranked: Ranking, wide: int) -> str:
    if not ranked.sources:
        return f"{one_line(ranked.target):<{wide}}  n/a"
    source, value = ranked.sources[0]
    tied = ranked.brackets.count(ranked.brackets[0]) - 1
    others = f"  or one of {tied} more" if tied else ""
    return f"{one_line(ranked.target):<{wide}}  {one_line(source):<{wide}} {format_number(value)}{others}"


def next_steps() -> Iterator[str]:
    """Where the rest is."""
    yield from wrap("All sources of a model: --target NAME. More of each: --top N. The whole matrix: --matrix.")
    yield from wrap("A page with all of it: --output DIR, then onnxspace report DIR -o page.html.")
