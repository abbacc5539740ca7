"""Orders of axes by which one tensor becomes the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Order = tuple[int, ...]
_MOST_AXES = 5
#: Relative error from which on no other order is tried.
_FITS = 0.02
_TINY = 1e-30


def list_orders(old: tuple[int, ...], new: tuple[int, ...]) -> Iterator[Order]:
    """Orders of the axes of `old` with several places that give those of `new`: as they are, with one axis moved, then all others."""
    first, second = (tuple(n for n in shape if n > 1) for shape in (old, new))
    if sorted(first) != sorted(second):
        return
    plain = tuple(range(len(first)))
    orders = permutations(plain) if len(plain) <= _MOST_AXES else iter([plain])
    yield from sorted((o for o in orders if tuple(first[k] for k in o) == second), key=lambda order: _count_moves(order))


def _count_moves(order: Order) -> int:
    """0 for axes as they are, 1 where one is moved, else 2."""
    plain = list(range(len(order)))
    if list(order) == plain:
        return 0
    moved = any([k for k in order if k != axis] == [k for k in plain if k != axis] for axis in plain)
    return 1 if moved else 2


def arrange(values: Array, order: Order | None, shape: tuple[int, ...]) -> Array:
    """`values` with its axes in another order, in `shape`; without an order they are only written in that shape."""
    if order is None:
        return values.reshape(shape)
    return np.ascontiguousarray(values.squeeze().transpose(order)).reshape(shape) if order else values.reshape(shape)


def find_order(old: Array, new: Array) -> Order | None:
    """The order of axes by which `old` is nearest to `new`; None where it is nearest as it is written, or no other fits."""
    best, found = relative_error(old.reshape(new.shape), new), None
    for order in list_orders(old.shape, new.shape):
        if best <= _FITS:
            break
        error = relative_error(arrange(old, order, new.shape), new)
        if error < best:
            best, found = error, order
    return found if found is None or list(found) != sorted(found) else None


def relative_error(old: Array, new: Array) -> float:
    """|new − old| / |old|."""
    gap = float(np.linalg.norm((new.astype(np.float32) - old.astype(np.float32)).ravel()))
    return gap / max(float(np.linalg.norm(old.astype(np.float32).ravel())), _TINY)
