"""Two models side by side: the first place where what they compute differs, and the weights that do."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.child.weights import weights
from onnxspace.model.encoder import Candidate, Trunk
from onnxspace.model.features import single_outputs
from onnxspace.model.model import Model
from onnxspace.model.network import Network

#: Layers beyond which only every so many are compared.
_MOST = 64


def layers(old: Model, new: Model, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Places that both have, in order: their names and `difference`, |new − old| / |old| over all values.

    Places are tensors at which either could be cut; two belong together where the sequence of their sizes says so. Values in another order of axes count as the same.
    """
    pairs = _aligned(_places(old), _places(new))
    values = (
        [single_outputs(model, names, images) for model, names in zip((old, new), zip(*pairs, strict=True), strict=True)]
        if pairs
        else []
    )
    return (
        [
            {"old": a, "new": b, "difference": _difference(first, second)}
            for (a, b), first, second in zip(pairs, *values, strict=True)
        ]
        if pairs
        else []
    )


def _places(model: Model) -> list[Candidate]:
    found = [c for c in Trunk(model).candidates() if c.elements is not None]
    step = -(-len(found) // _MOST) if found else 1
    return found[::step]


def _aligned(old: Sequence[Candidate], new: Sequence[Candidate]) -> list[tuple[str, str]]:
    """Pairs of names whose sizes come in the same order in both."""
    if len(old) == len(new) and all(a.elements == b.elements for a, b in zip(old, new, strict=True)):
        return [(a.tensor, b.tensor) for a, b in zip(old, new, strict=True)]
    blocks = SequenceMatcher(None, [c.elements for c in old], [c.elements for c in new], autojunk=False).get_matching_blocks()
    return [(old[b.a + i].tensor, new[b.b + i].tensor) for b in blocks for i in range(b.size)]


def _difference(old: NDArray[Any], new: NDArray[Any]) -> float | None:
    """The least over orders of the axes behind the first; None where sizes never fit or values are not finite."""
    orders = [(0, *order) for order in permutations(range(1, new.ndim))] if 1 < new.ndim <= 4 else [tuple(range(new.ndim))]
    turned = [new.transpose(order) for order in orders]
    fitting = [one for one in turned if one.shape == old.shape]
    if not fitting and new.size == old.size:
        fitting = [one.reshape(old.shape) for one in turned]
    length = float(np.linalg.norm(old.astype(np.float64)))
    found = [float(np.linalg.norm(one.astype(np.float64) - old)) / max(length, 1e-30) for one in fitting]
    return min(found) if found and np.isfinite(found).all() else None


def weight_changes(old: Network, new: Network) -> dict[str, Any] | None:
    """How stored weights differ, paired where their sizes come in the same order in both; None where most have no partner.

    `changed` names those that differ, with |new − old| / |old|; `of` is how many pairs there are, `alone` how many tensors of
    the new network have none, as a head for other classes.
    """
    first, second = _matrices(old), _matrices(new)
    sizes = [[values.shape for _, values in side] for side in (first, second)]
    blocks = SequenceMatcher(None, sizes[0], sizes[1], autojunk=False).get_matching_blocks()
    pairs = [(first[b.a + i], second[b.b + i]) for b in blocks for i in range(b.size)]
    if 2 * len(pairs) <= max(len(first), len(second)):
        return None
    changed = [
        {"name": name, "difference": _relative(a, b)} for (_, a), (name, b) in pairs if not np.array_equal(a, b, equal_nan=True)
    ]
    return {"of": len(pairs), "changed": changed, "alone": len(second) - len(pairs)}


def _matrices(network: Network) -> list[tuple[str, NDArray[Any]]]:
    """Floating-point tensors of two axes or more that nodes read, in the nodes' order."""
    return [(name, values) for name, values in weights(network).items() if values.ndim > 1 and values.dtype.kind == "f"]


def _relative(old: NDArray[Any], new: NDArray[Any]) -> float:
    length = float(np.linalg.norm(old.astype(np.float64)))
    gap = float(np.linalg.norm(new.astype(np.float64) - old.astype(np.float64)))
    return gap / max(length, 1e-30) if np.isfinite(gap) else 1e30
