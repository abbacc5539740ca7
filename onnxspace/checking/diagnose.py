"""Why an artifact differs: what was tried, and what fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxspace.checking.measure import Measures, signal_cosines
from onnxspace.checking.observation import FileFacts, Observation, Signal

#: Cosine at the encoder from which on a way of feeding explains the difference.
_EXPLAINS = 0.999
_NEARLY = 0.95
#: Relative difference of values from which on a layer departs.
DEPARTS = 0.05
_UNRELATED = 0.3
#: Affinity below which less exact arithmetic is not the reason, where the encoder agrees.
_INEXACT = 0.75
_LAYER = re.compile("Conv|Gemm|MatMul")
#: Relative difference of weights below which eight bits can be the reason.
_FEW_BITS = 0.02
#: Relative difference of weights from which on they have nothing in common.
_APART = 0.5
#: Relative difference of weights below which they count as the same, stored in half precision.
_ROUNDING = 1e-3


def explained_by(variants: Mapping[str, Any], old: Observation, plain: float) -> str | None:
    """The change of the input with which the artifact gives what the old one gave, if it is plain and there is one."""
    if old.encoder is None:
        return None
    found: dict[str, float] = {}
    for name, told in variants.items():
        cosines = signal_cosines(Signal.read(told), old.encoder)
        if cosines is not None:
            found[name] = float(cosines.mean())
    best = max(found, key=lambda name: found[name], default=None)
    if best is None or not (
        (found[best] >= _EXPLAINS and found[best] - plain >= (1 - plain) / 2) or _mostly(found[best], plain)
    ):
        return None
    return f"Fed otherwise it gives the old answers (cosine {found[best]:.4f} at the encoder): {best}."


def _mostly(cosine: float, plain: float) -> bool:
    """Whether little of a large difference is left: where something else changed too, such as precision."""
    return cosine >= _NEARLY and 1 - cosine <= (1 - plain) / 5


def first_departure(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first place where the two differ by more than a twentieth; else the one where they differ most."""
    known = [layer for layer in layers if layer["difference"] is not None]
    departing = [layer for layer in known if layer["difference"] > DEPARTS]
    return departing[0] if departing else max(known, key=lambda layer: layer["difference"], default=None)


def of_weights(told: Mapping[str, Any] | None) -> str | None:
    """What changed weights look like: one layer, some, or all a little."""
    if told is None or not (told["changed"] or told["alone"]):
        return None
    alone = told["alone"]
    if alone and np.median([one["difference"] for one in told["changed"]] or [0.0]) >= _APART:
        return None  # sizes that are alike by accident
    if not told["changed"]:
        return f"{_others(alone)}, all {told['of']} others are equal."
    return f"{_of_pairs(told['changed'], told['of'])}{f' {_others(alone)}.' if alone else ''}"


def _others(alone: int) -> str:
    return "One weight tensor has another size" if alone == 1 else f"{alone} weight tensors have other sizes"


def _of_pairs(changed: Sequence[Mapping[str, Any]], count: int) -> str:
    """Of tensors that have partners."""
    sizes = np.array([one["difference"] for one in changed])
    if sizes.max() < _ROUNDING:
        return f"The same weights but for rounding: {len(changed)} of {count} tensors differ, by {sizes.max():.2%} at most."
    if len(changed) <= max(2, count // 10):
        names = ", ".join(f"{one['name']} (by {one['difference']:.0%})" for one in changed[:4])
        return f"{len(changed)} of {count} weight tensors differ, all others are equal: {names}."
    if np.median(sizes) < _APART:
        few = ", or stored with fewer bits" if np.median(sizes) < _FEW_BITS else ""
        return f"The same architecture with other weights: {len(changed)} of {count} tensors differ, by {np.median(sizes):.1%} (median): trained on{few}."
    return f"The same architecture with other weights: {len(changed)} of {count} tensors differ, by {np.median(sizes):.0%} (median): trained apart."


def of_digests(new: FileFacts, old: FileFacts) -> str | None:
    """The same from digests alone, where the old file is not at hand."""
    if not old.weights or len(new.weights) != len(old.weights):
        return None
    changed = [name for (name, mine), (_, theirs) in zip(new.weights, old.weights, strict=True) if mine != theirs]
    if not changed:
        return None
    names = f": {', '.join(changed[:4])}" if len(changed) <= 4 else ""
    return (
        f"{len(changed)} of {len(new.weights)} weight tensors differ, all others are equal{names}."
        if len(changed) <= max(2, len(new.weights) // 10)
        else f"The same number of weight tensors, and {len(changed)} of {len(new.weights)} differ: trained on, or trained apart."
    )


def of_kind(measures: Measures, new: FileFacts, old: FileFacts, *, explained: bool = False) -> Iterator[str]:
    """What the numbers alone suggest, where both files were looked at; `explained` where a reason is known already."""
    if not old.of_file:
        return
    affinity = measures.values["affinity"]
    if _quantised(new) and not _quantised(old):
        yield "It is quantised, and the old one is not; `--calibrate` measures how much that may change."
        explained |= affinity >= _UNRELATED
    if not explained and _near(new, old):
        yield (
            f"A network of the same size ({new.parameters:,} parameters, {old.parameters:,} before) with affinity {affinity:.2f}: "
            "trained on, trained apart, or fed otherwise."
        )
    elif not explained and affinity < _UNRELATED:
        yield (
            f"Another network: it looks at other things (affinity {affinity:.2f}), and has {new.parameters:,} "
            f"parameters instead of {old.parameters:,}."
        )
    elif not explained:
        yield f"A relative rather than a copy (affinity {affinity:.2f}): trained on from the same network, or changed in part."


def of_maps(measures: Measures) -> str | None:
    """What it means that the encoder agrees and the maps don't."""
    cosine, affinity = measures.values.get("encoder_cosine", 0.0), measures.values["affinity"]
    if cosine < _EXPLAINS or affinity >= _INEXACT:
        return None
    return (
        f"The encoder gives the old answers (cosine {cosine:.4f}) and yet the maps differ: the image comes in other numbers, as "
        "where a normalisation has moved into or out of the network. Maps of --method saliency hardly depend on that."
    )


def _quantised(facts: FileFacts) -> bool:
    return any("Quant" in name or "QLinear" in name for name in facts.operators)


def _near(new: FileFacts, old: FileFacts) -> bool:
    """Whether two files may hold one architecture, with more or less of it folded: as many layers and nearly as many weights."""
    layers = [sum(count for name, count in one.operators.items() if _LAYER.search(name)) for one in (new, old)]
    return layers[0] == layers[1] and abs(new.parameters - old.parameters) <= 0.02 * max(new.parameters, old.parameters)
