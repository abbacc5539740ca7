"""Layers of one kind that have changed places: each has the weights that another one had."""

from __future__ import annotations

from dataclasses import replace

from onnxspace.differences.child.judgement import Match

_EQUAL = ("equal", "requantised")


def mark_swapped(match: Match) -> Match:
    """The match in which layers are `swapped` that have the weights of each other, or of others of them."""
    swapped = _find_crossed(match) | _find_exchanged(match)
    return replace(match, changes={a: replace(c, kind="swapped") if a in swapped else c for a, c in match.changes.items()})


def _find_crossed(match: Match) -> set[int]:
    """Layers that correspond by their weights, stand in another order, and compute other values."""
    swapped = set[int]()
    candidates = [
        a for a, change in match.changes.items() if change.kind in _EQUAL and a in match.old.layers and not match.agrees(a)
    ]
    for place, a in enumerate(sorted(candidates)):
        for other in sorted(candidates)[place + 1 :]:
            if match.pairs[other] < match.pairs[a] and _are_alike(match, a, other):
                swapped |= {a, other}
    return swapped


def _find_exchanged(match: Match) -> set[int]:
    """Layers that correspond by their places, whose weights each are those of another one of them, before and after."""
    layers = {a: (match.old.layers[a], match.new.layers[match.pairs[a]]) for a in match.changes if _is_other(match, a)}
    before, after = ({a: pair[k].digest for a, pair in layers.items()} for k in (0, 1))
    both = set(before.values()) & set(after.values())
    found = {a for a in layers if before[a] in both and after[a] in both and before[a] != after[a]}
    return found if len(found) > 1 else set()


def _is_other(match: Match, a: int) -> bool:
    old, new = match.old.layers.get(a), match.new.layers.get(match.pairs[a])
    return match.changes[a].kind not in _EQUAL and old is not None and new is not None and not old.is_uniform


def _are_alike(match: Match, a: int, other: int) -> bool:
    return match.old.layers[a].rows.shape == match.old.layers[other].rows.shape
