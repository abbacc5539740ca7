"""A topological order of numbered items, each of which waits for others."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def is_in_order(waits: Sequence[set[int]]) -> bool:
    """Whether every item waits for items before it only."""
    return all(max(before, default=-1) < i for i, before in enumerate(waits))


def find_order(waits: Sequence[set[int]]) -> list[int]:
    """Return the items in topological order by Kahn's algorithm; those of a cycle, and what waits for it, are left out.

    `waits` has, for each item, the items that it waits for. The sort is stable: what is in order keeps it.

    >>> find_order([{1}, set(), {0}])
    [1, 0, 2]
    """
    if is_in_order(waits):
        return list(range(len(waits)))
    feeds: dict[int, list[int]] = {}
    for i, before in enumerate(waits):
        for j in before:
            feeds.setdefault(j, []).append(i)
    left = [len(before) for before in waits]
    ready = [i for i, count in enumerate(left) if count == 0]
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in feeds.get(i, ()):
            left[j] -= 1
            if left[j] == 0:
                heapq.heappush(ready, j)
    return order
