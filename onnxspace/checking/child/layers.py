"""Compare two models layer by layer, and weight by weight."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.child.weights import read_weights
from onnxspace.model.encoder import Candidate, Trunk
from onnxspace.model.features import compute_per_image
from onnxspace.model.model import Model
from onnxspace.model.network import Network

#: At most about so many layers are compared, evenly spaced.
_MOST = 64


def compare_layers(old: Model, new: Model, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Layers that both models have, in order: names `old` and `new`, and `difference`, |new − old| / |old| over all values.

    `images` is uint8 [images, size, size, 3]. Layers are tensors at which a model could be cut; they are paired where the
    sequences of their sizes match. Values in another order of axes count as equal.
    """
    pairs = _align_by_size(_cut_points(old), _cut_points(new))
    values = (
        [compute_per_image(model, names, images) for model, names in zip((old, new), zip(*pairs, strict=True), strict=True)]
        if pairs
        else []
    )
    return (
        [
            {"old": a, "new": b, "difference": _least_difference(first, second)}
            for (a, b), first, second in zip(pairs, *values, strict=True)
        ]
        if pairs
        else []
    )


def _cut_points(model: Model) -> list[Candidate]:
    found = [c for c in Trunk(model).candidates() if c.elements is not None]
    step = -(-len(found) // _MOST) if found else 1
    return found[::step]


def _align_by_size(old: Sequence[Candidate], new: Sequence[Candidate]) -> list[tuple[str, str]]:
    """Pair tensor names so that their sizes come in the same order in both models."""
    if len(old) == len(new) and all(a.elements == b.elements for a, b in zip(old, new, strict=True)):
        return [(a.tensor, b.tensor) for a, b in zip(old, new, strict=True)]
    blocks = SequenceMatcher(None, [c.elements for c in old], [c.elements for c in new], autojunk=False).get_matching_blocks()
    return [(old[b.a + i].tensor, new[b.b + i].tensor) for b in blocks for i in range(b.size)]


def _least_difference(old: NDArray[Any], new: NDArray[Any]) -> float | None:
    """The smallest relative difference over orders of all axes but the first; None for other sizes and non-finite values."""
    orders = [(0, *order) for order in permutations(range(1, new.ndim))] if 1 < new.ndim <= 4 else [tuple(range(new.ndim))]
    turned = [new.transpose(order) for order in orders]
    fitting = [one for one in turned if one.shape == old.shape]
    if not fitting and new.size == old.size:
        fitting = [one.reshape(old.shape) for one in turned]
    length = float(np.linalg.norm(old.astype(np.float64)))
    found = [float(np.linalg.norm(one.astype(np.float64) - old)) / max(length, 1e-30) for one in fitting]
    return min(found) if found and np.isfinite(found).all() else None


def weight_changes(old: Network, new: Network) -> dict[str, Any] | None:
    """How all stored floating-point tensors differ; None where most have no partner.

    Equal tensors are partners, wherever they stand; the others are paired so that their sizes come in the same order. `changed`
    lists the `name` and `difference`, |new − old| / |old|, of those that differ; `of` is the number of the new network's tensors,
    `alone` that of those without a partner, such as those of a head for other classes, `gone` that of the old network's.
    """
    first, second = _float_tensors(old), _float_tensors(new)
    left, others = _drop_equal(first, second)
    sizes = [[values.shape for _, values in side] for side in (left, others)]
    blocks = SequenceMatcher(None, sizes[0], sizes[1], autojunk=False).get_matching_blocks()
    pairs = [(left[b.a + i], others[b.b + i]) for b in blocks for i in range(b.size)]
    if 2 * (len(second) - len(others) + len(pairs)) <= max(len(first), len(second)):
        return None
    changed = [{"name": name, "difference": _relative_difference(a, b)} for (_, a), (name, b) in pairs]
    return {"of": len(second), "changed": changed, "alone": len(others) - len(pairs), "gone": len(left) - len(pairs)}


#: Name and values of a stored tensor.
_Named = tuple[str, NDArray[Any]]


def _float_tensors(network: Network) -> list[_Named]:
    """Stored floating-point tensors in the order in which nodes read them."""
    return [(name, values) for name, values in read_weights(network).items() if values.dtype.kind == "f" and values.size]


def _drop_equal(first: list[_Named], second: list[_Named]) -> tuple[list[_Named], list[_Named]]:
    """Both lists without the tensors that are in both, each as often as in the other."""
    held = Counter(_digest(values) for _, values in first)
    others, shared = [], Counter[bytes]()
    for name, values in second:
        digest = _digest(values)
        if shared[digest] < held[digest]:
            shared[digest] += 1
        else:
            others.append((name, values))
    left = []
    for name, values in first:
        if shared[digest := _digest(values)]:
            shared[digest] -= 1
        else:
            left.append((name, values))
    return left, others


def _digest(values: NDArray[Any]) -> bytes:
    """The checksum of a tensor's type, shape and values."""
    head = f"{values.dtype.str} {values.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).digest()


def _relative_difference(old: NDArray[Any], new: NDArray[Any]) -> float:
    length = float(np.linalg.norm(old.astype(np.float64)))
    gap = float(np.linalg.norm(new.astype(np.float64) - old.astype(np.float64)))
    return gap / max(length, 1e-30) if np.isfinite(gap) else 1e30
