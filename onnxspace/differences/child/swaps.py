"""Layers of one kind that have changed places: each has the weights that another one had."""

from __future__ import annotations

from dataclasses import replace

from onnxspace.differences.child.judgement import Match

_EQUAL = ("equal", "requantised")


def mark_swapped(match: Match) -> Match:
    """The match in which layers are `swapped` that correspond by their weights, stand in another order, and compute other values."""
    swapped = set[int]()
    candidates = [
        a for a, change in match.changes.items() if change.kind in _EQUAL and a in match.old.layers and not match.agrees(a)
    ]
    for place, a in enumerate(sorted(candidates)):
        for other in sorted(candidates)[place + 1 :]:
            if match.pairs[other] < match.pairs[a] and _are_alike(match, a, other):
                swapped |= {a, other}
    return replace(match, changes={a: replace(c, kind="swapped") if a in swapped else c for a, c in match.changes.items()})


def _are_alike(match: Match, a: int, other: int) -> bool:
    return match.old.layers[a].rows.shape == match.old.layers[other].rows.shape
