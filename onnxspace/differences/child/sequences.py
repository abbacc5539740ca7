"""Two sequences aligned by keys, nearly in linear time: keys that are unique in both first, then what lies between them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

Pair = tuple[int, int]
Keys = Sequence[Hashable | None]
#: Cells of a table up to which a longest common subsequence is computed exactly.
_MOST_CELLS = 40_000


def align_between(pairs: Sequence[Pair], old: Keys, new: Keys) -> list[Pair]:
    """`pairs` of places of two sequences, in ascending order, with those added between them whose keys are the same.

    `old` and `new` have a key for every element; None matches nothing.
    """
    found: list[Pair] = []
    before, sizes = (-1, -1), (len(old), len(new))
    for after in (*pairs, sizes):
        found += _align_gap(old, new, (before[0] + 1, after[0]), (before[1] + 1, after[1]))
        if after != sizes:
            found.append(after)
        before = after
    return found


def _align_gap(old: Keys, new: Keys, first: Pair, second: Pair) -> list[Pair]:
    """Align two ranges: common ends, then keys that are unique in both, then what lies between."""
    found, waiting = list[Pair](), [(first, second)]
    while waiting:
        (a, b), (c, d) = waiting.pop()
        while a < b and c < d and old[a] is not None and old[a] == new[c]:
            found.append((a, c))
            a, c = a + 1, c + 1
        while a < b and c < d and old[b - 1] is not None and old[b - 1] == new[d - 1]:
            found.append((b - 1, d - 1))
            b, d = b - 1, d - 1
        if a == b or c == d:
            continue
        anchors = _find_anchors(old, new, (a, b), (c, d))
        if anchors:
            starts, ends = [(a, c), *((i + 1, k + 1) for i, k in anchors)], [*anchors, (b, d)]
            found += anchors
            waiting += [((s[0], e[0]), (s[1], e[1])) for s, e in zip(starts, ends, strict=True)]
        elif (b - a) * (d - c) <= _MOST_CELLS:
            found += _find_longest(old, new, (a, b), (c, d))
        else:
            found += _align_by_count(old, new, (a, b), (c, d))
    return sorted(found)


def _find_anchors(old: Keys, new: Keys, first: Pair, second: Pair) -> list[Pair]:
    """The longest ascending run of pairs whose keys are unique in both ranges."""
    counts = Counter(old[slice(*first)]), Counter(new[slice(*second)])
    places = {key: k for k, key in zip(range(*second), new[slice(*second)], strict=True)}
    keys = ((i, old[i]) for i in range(*first))
    unique = [(i, places[key]) for i, key in keys if key is not None and counts[0][key] == counts[1][key] == 1]
    return keep_ascending(unique)


def keep_ascending(pairs: Iterable[Pair]) -> list[Pair]:
    """The longest subsequence of pairs, in ascending order of their first places, whose second places ascend too."""
    given = list(pairs)
    tops, ends, before = list[int](), list[int](), list[int]()
    for at, (_, k) in enumerate(given):
        place = bisect_left(tops, k)
        before.append(ends[place - 1] if place else -1)
        tops[place : place + 1], ends[place : place + 1] = [k], [at]
    found, at = list[Pair](), ends[-1] if ends else -1
    while at >= 0:
        found.append(given[at])
        at = before[at]
    return found[::-1]


def _find_longest(old: Keys, new: Keys, first: Pair, second: Pair) -> list[Pair]:
    """The longest common subsequence of two short ranges."""
    (a, b), (c, d) = first, second
    table = [[0] * (d - c + 1) for _ in range(b - a + 1)]
    for i in range(b - 1, a - 1, -1):
        for k in range(d - 1, c - 1, -1):
            same = old[i] is not None and old[i] == new[k]
            table[i - a][k - c] = (
                table[i - a + 1][k - c + 1] + 1 if same else max(table[i - a + 1][k - c], table[i - a][k - c + 1])
            )
    found, i, k = list[Pair](), a, c
    while i < b and k < d:
        if old[i] is not None and old[i] == new[k]:
            found.append((i, k))
            i, k = i + 1, k + 1
        elif table[i - a + 1][k - c] >= table[i - a][k - c + 1]:
            i += 1
        else:
            k += 1
    return found


def _align_by_count(old: Keys, new: Keys, first: Pair, second: Pair) -> list[Pair]:
    """Pair the n-th element of a key with the n-th of the other range, where that keeps the order."""
    waiting: dict[Hashable, list[int]] = defaultdict(list)
    for k in range(*second):
        waiting[new[k]].append(k)
    counts: Counter[Hashable] = Counter()
    pairs = []
    for i in range(*first):
        key, at = old[i], counts[old[i]]
        if key is not None and at < len(waiting[key]):
            pairs.append((i, waiting[key][at]))
        counts[key] += 1
    return keep_ascending(pairs)
