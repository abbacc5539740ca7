"""Why an artifact differs: what was tried, and what fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxspace.checking.measure import Measures, signal_cosines
from onnxspace.checking.observation import Facts, Observation, Signal

#: Cosine at the encoder from which on a way of feeding explains the difference.
_EXPLAINS = 0.999
#: Relative difference of values from which on a layer departs.
DEPARTS = 0.05
_UNRELATED = 0.3


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
    if best is None or found[best] < _EXPLAINS or found[best] - plain < (1 - plain) / 2:
        return None
    return f"Fed otherwise it gives the old answers (cosine {found[best]:.4f} at the encoder): {best}."


def first_departure(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first place where the two differ by more than a twentieth; else the one where they differ most."""
    known = [layer for layer in layers if layer["difference"] is not None]
    departing = [layer for layer in known if layer["difference"] > DEPARTS]
    return departing[0] if departing else max(known, key=lambda layer: layer["difference"], default=None)


def of_weights(told: Mapping[str, Any] | None) -> str | None:
    """What changed weights look like: one layer, some, or all a little."""
    if told is None or not told["changed"]:
        return None
    changed, count = told["changed"], told["of"]
    sizes = np.array([one["difference"] for one in changed])
    if len(changed) <= max(2, count // 10):
        names = ", ".join(f"{one['name']} (by {one['difference']:.0%})" for one in changed[:4])
        return f"{len(changed)} of {count} weight tensors differ, all others are equal: {names}."
    if np.median(sizes) < 0.5:
        return f"The same architecture with other weights: {len(changed)} of {count} tensors differ, by {np.median(sizes):.1%} (median): trained on."
    return f"The same architecture with other weights: {len(changed)} of {count} tensors differ, by {np.median(sizes):.0%} (median): trained apart."


def of_digests(new: Facts, old: Facts) -> str | None:
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


def of_kind(measures: Measures, new: Facts, old: Facts) -> Iterator[str]:
    """What the numbers alone suggest, where both files were looked at."""
    if not old.of_file:
        return
    if measures.values["affinity"] < _UNRELATED and (new.parameters != old.parameters or new.operators != old.operators):
        yield (
            f"Another network: it looks at other things (affinity {measures.values['affinity']:.2f}), and has {new.parameters:,} "
            f"parameters instead of {old.parameters:,}."
        )
    quantised = any("Quant" in name or "QLinear" in name for name in new.operators)
    if quantised and not any("Quant" in name or "QLinear" in name for name in old.operators):
        yield "It is quantised, and the old one is not; `--calibrate` measures how much that may change."
