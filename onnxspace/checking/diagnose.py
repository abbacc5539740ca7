"""Find the most likely reasons why an artifact differs from its baseline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxspace.checking.measure import Measures, signal_cosines
from onnxspace.checking.observation import FileFacts, Observation, Signal

#: Cosine at the encoder from which on a change of the input explains the difference.
_EXPLAINS = 0.999
_NEARLY = 0.95
#: Relative difference of values above which a layer counts as different.
DEPARTS = 0.05
_UNRELATED = 0.3
#: Affinity below which rounding can't be the reason why maps differ although the encoder's outputs agree.
_INEXACT = 0.75
_LAYER = re.compile("Conv|Gemm|MatMul")
#: Relative difference of weights below which storage in eight bits can be the reason.
_FEW_BITS = 0.02
#: Relative difference of weights from which on they count as unrelated.
_APART = 0.5
#: Relative difference of weights below which they count as the same, stored in half precision.
_ROUNDING = 1e-3


def find_input_change(variants: Mapping[str, Any], old: Observation, plain: float) -> str | None:
    """A sentence on the change of the input that restores the old outputs; None where none does.

    `variants` holds the new model's signals (as `Signal.to_dict`) by the words for the change, `old` is the baseline's
    observation, `plain` the cosine at the encoder without a change.
    """
    if old.encoder is None:
        return None
    found: dict[str, float] = {}
    for name, signal in variants.items():
        cosines = signal_cosines(Signal.read(signal), old.encoder)
        if cosines is not None:
            found[name] = float(cosines.mean())
    best = max(found, key=lambda name: found[name], default=None)
    if best is None or not (
        (found[best] >= _EXPLAINS and found[best] - plain >= (1 - plain) / 2) or _explains_most(found[best], plain)
    ):
        return None
    return f"With another input it gives the old outputs (cosine {found[best]:.4f} at the encoder): {best}."


def _explains_most(cosine: float, plain: float) -> bool:
    """Whether the change removes most of a large difference; the rest may be due to something else, such as precision."""
    return cosine >= _NEARLY and 1 - cosine <= (1 - plain) / 5


def first_different_layer(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first of `layers` (of `child.layers.compare_layers`) that differs by more than DEPARTS, else the one that differs most."""
    comparable = [layer for layer in layers if layer["difference"] is not None]
    departing = [layer for layer in comparable if layer["difference"] > DEPARTS]
    return departing[0] if departing else max(comparable, key=lambda layer: layer["difference"], default=None)


def describe_weights(weights: Mapping[str, Any] | None) -> str | None:
    """A sentence on the weights that changed (of `child.layers.weight_changes`); None where that says nothing."""
    if weights is None or not (weights["changed"] or weights["alone"]):
        return None
    alone = weights["alone"]
    if alone and np.median([one["difference"] for one in weights["changed"]] or [0.0]) >= _APART:
        return None  # sizes that are alike by accident
    if not weights["changed"]:
        return f"{_describe_unpaired(alone)}, all {weights['of']} others are equal."
    return f"{_describe_pairs(weights['changed'], weights['of'])}{f' {_describe_unpaired(alone)}.' if alone else ''}"


def _describe_unpaired(alone: int) -> str:
    return "One weight tensor has another size" if alone == 1 else f"{alone} weight tensors have other sizes"


def _describe_pairs(changed: Sequence[Mapping[str, Any]], count: int) -> str:
    """A sentence on the tensors that have partners."""
    sizes = np.array([one["difference"] for one in changed])
    if sizes.max() < _ROUNDING:
        return f"The same weights up to rounding: {len(changed)} of {count} tensors differ, by {sizes.max():.2%} at most."
    if len(changed) <= max(2, count // 10):
        names = ", ".join(f"{one['name']} (by {one['difference']:.0%})" for one in changed[:4])
        return f"{len(changed)} of {count} weight tensors differ, all others are equal: {names}."
    if np.median(sizes) < _APART:
        few = ", or stored with fewer bits" if np.median(sizes) < _FEW_BITS else ""
        return f"The same architecture with other weights: {len(changed)} of {count} tensors differ, by {np.median(sizes):.1%} (median): trained further{few}."
    return f"The same architecture with other weights: {len(changed)} of {count} tensors differ, by {np.median(sizes):.0%} (median): trained separately."


def describe_digests(new: FileFacts, old: FileFacts) -> str | None:
    """A sentence on the weights that changed, from their checksums alone, for a baseline without its model file."""
    if not old.weights or len(new.weights) != len(old.weights):
        return None
    changed = [name for (name, mine), (_, theirs) in zip(new.weights, old.weights, strict=True) if mine != theirs]
    if not changed:
        return None
    names = f": {', '.join(changed[:4])}" if len(changed) <= 4 else ""
    return (
        f"{len(changed)} of {len(new.weights)} weight tensors differ, all others are equal{names}."
        if len(changed) <= max(2, len(new.weights) // 10)
        else f"The same number of weight tensors, and {len(changed)} of {len(new.weights)} differ: trained further, or trained separately."
    )


def describe_relation(measures: Measures, new: FileFacts, old: FileFacts, *, explained: bool = False) -> Iterator[str]:
    """Sentences on how two models are related, from their metrics and facts; `explained` says that a reason was found before.

    Nothing where the baseline has no facts of its file.
    """
    if not old.of_file:
        return
    affinity = measures.values["affinity"]
    if _is_quantised(new) and not _is_quantised(old):
        yield "It is quantised and the old one is not; `--calibrate` measures how much that may change."
        explained |= affinity >= _UNRELATED
    if not explained and _is_same_architecture(new, old):
        yield (
            f"A network of the same size ({new.parameters:,} parameters, {old.parameters:,} before) with affinity {affinity:.2f}: "
            "trained further, trained separately, or with another preprocessing."
        )
    elif not explained and affinity < _UNRELATED:
        yield (
            f"Another network: its maps are unrelated (affinity {affinity:.2f}), and it has {new.parameters:,} parameters "
            f"instead of {old.parameters:,}."
        )
    elif not explained:
        yield f"A related network rather than a copy (affinity {affinity:.2f}): trained further from the same one, or changed in part."


def describe_maps(measures: Measures) -> str | None:
    """A sentence for an encoder whose outputs agree while its maps don't; None otherwise."""
    cosine, affinity = measures.values.get("encoder_cosine", 0.0), measures.values["affinity"]
    if cosine < _EXPLAINS or affinity >= _INEXACT:
        return None
    return (
        f"The encoder gives the old outputs (cosine {cosine:.4f}) but the maps differ: the input has another scale, as "
        "where a normalisation has moved into or out of the network. Maps of --method saliency hardly depend on that."
    )


def _is_quantised(facts: FileFacts) -> bool:
    return any("Quant" in name or "QLinear" in name for name in facts.operators)


def _is_same_architecture(new: FileFacts, old: FileFacts) -> bool:
    """Whether two files may hold one architecture, folded or not: as many layers, and about as many parameters."""
    layers = [sum(count for name, count in one.operators.items() if _LAYER.search(name)) for one in (new, old)]
    return layers[0] == layers[1] and abs(new.parameters - old.parameters) <= 0.02 * max(new.parameters, old.parameters)
