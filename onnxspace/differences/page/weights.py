"""What became of a layer's weights, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxspace.differences.findings import format_percent

_KINDS = {
    "equal": "equal",
    "permuted": "the same in another order",
    "transposed": "transposed",
    "scaled": "the same, scaled",
    "requantised": "rounded to another type",
    "pruned": "pruned",
    "trained": "trained further",
    "replaced": "unrelated to the old ones",
    "resized": "of another shape",
    "bias": "equal, with another bias",
    "folded": "equal, with a batch normalisation folded in",
    "folded_wrongly": "with a batch normalisation folded in wrongly",
    "unfolded": "equal, with a batch normalisation taken out",
    "unread": "not compared",
    "edited": "the same but for a few",
    "regrouped": "in another number of layers",
    "exchanged": "with two parameters in each other's place",
    "statistics": "equal, with other statistics",
    "neutral": "scale 1 and shift 0, which were others",
    "clipped": "limited to a range",
}
#: Shares, with the words that they stand between.
_SHARES = {
    "difference": "they differ by {}",
    "rounding": "rounding explains {}",
    "pruned": "{} of them are 0 now",
    "bias": "the bias differs by {}",
}


def describe_weights(weights: Mapping[str, Any] | None) -> str:
    """What became of weights, as `NodeGroup.weights` has it; empty where there are none.

    >>> describe_weights({"kind": "trained", "difference": 0.1})
    'trained further; they differ by 10 %'
    """
    if weights is None:
        return ""
    kind = str(weights["kind"])
    return "; ".join([_KINDS.get(kind, kind.replace("_", " ")), *_describe_numbers(weights)])


def _describe_numbers(weights: Mapping[str, Any]) -> Iterator[str]:
    for key, words in _SHARES.items():
        if weights.get(key):
            yield words.format(format_percent(float(weights[key])))
    if "factor" in weights:
        low, high = weights["factor"]
        yield f"factors from {low:.3g} to {high:.3g}"
    if "axis" in weights:
        yield f"along the axis of {weights['axis']}s" if weights["axis"] != "both" else "along both axes"
    if weights.get("moved"):
        yield f"{weights['moved']} channels have another place"
    if "limits" in weights:
        low, high = weights["limits"]
        yield f"from {low:.3g} to {high:.3g}"
    if "grid" in weights:
        yield f"multiples of {weights['grid']:.3g}"
    if weights.get("exchanged"):
        yield " and ".join(weights["exchanged"])
    if weights.get("cause"):
        yield str(weights["cause"])
    types = [str(one) for one in weights.get("types", ()) if one]
    if len(set(types)) > 1:
        yield f"stored in {types[1]} (before: {types[0]})"
