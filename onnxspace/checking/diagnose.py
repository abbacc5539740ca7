"""How two networks that differ are related, in sentences that hold only what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxspace.checking.diagnose_weights import WeightChanges, percent
from onnxspace.checking.file_facts import FileFacts
from onnxspace.checking.measure import Measures

#: Relative difference of values above which a layer counts as different, and below which it counts as equal.
DEPARTS, EQUAL = 0.05, 1e-3
_UNRELATED = 0.3
#: Affinity below which rounding can't be the reason why maps differ although the encoder's outputs agree.
_INEXACT = 0.75
#: Cosine, and largest relative difference, at which the encoder's outputs count as equal.
_EQUAL_COSINE, _EQUAL_RELATIVE = 0.9999, 0.02
#: Difference of colours, from 0 to 255, above which the zeros of two inputs differ.
_ANOTHER_ZERO = 0.51
_LAYER = re.compile("Conv|Gemm|MatMul")


def encoder_is_equal(found: Measures) -> bool:
    """Whether the encoder's outputs were compared and are equal up to rounding."""
    values = found.values
    return values.get("encoder_cosine", 0.0) >= _EQUAL_COSINE and values.get("encoder_relative", 1.0) <= _EQUAL_RELATIVE


def equal_parts(found: Measures, weights: WeightChanges | None) -> str:
    """What is equal in words, such as `the encoder and weights are equal`; empty where nothing is."""
    parts = [
        *(["the encoder"] if encoder_is_equal(found) else []),
        *(["weights"] if weights is not None and weights.all_equal else []),
    ]
    verb = "is" if parts == ["the encoder"] else "are"
    return f"{' and '.join(parts)} {verb} equal" if parts else ""


def first_different_layer(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first of `layers` (of `compare_layers`) that differs by more than DEPARTS; None where none does."""
    return next((layer for layer in _comparable(layers) if layer["difference"] > DEPARTS), None)


def describe_layers(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence on layers none of which differs by more than DEPARTS."""
    comparable = _comparable(layers)
    if not comparable or first_different_layer(layers) is not None:
        return
    most = max(comparable, key=lambda layer: layer["difference"])
    if most["difference"] < EQUAL:
        yield f"All {len(comparable)} layers that were compared are equal, to {EQUAL:.1%}: the difference arises after them."
    else:
        yield f"None of {len(comparable)} layers is off by more than {percent(most['difference'])} ({most['new']})."


def _comparable(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [layer for layer in layers if layer["difference"] is not None]


def describe_relation(
    found: Measures, new: FileFacts, old: FileFacts, weights: WeightChanges | None, *, explained: bool = False
) -> Iterator[str]:
    """Sentences on how two models are related; `explained` says that a reason was found before.

    Nothing where the baseline has no facts of its file.
    """
    if not old.of_file:
        return
    if _is_quantised(new) and not _is_quantised(old):
        yield "It is quantised and the old one is not; `--calibrate` measures how much that may change."
        explained |= found.values["affinity"] >= _UNRELATED
    if not explained:
        yield from _describe_unexplained(found, new, old, weights)


def _describe_unexplained(found: Measures, new: FileFacts, old: FileFacts, weights: WeightChanges | None) -> Iterator[str]:
    affinity = found.values["affinity"]
    if weights is not None and weights.all_equal:
        where = "what follows the encoder" if encoder_is_equal(found) else "the graph, or what its input is fed"
        yield f"All {weights.count} weight tensors are equal, so {where} has changed."
    elif _is_same_architecture(new, old):
        yield (
            f"A network of the same size ({new.parameters:,} parameters, {old.parameters:,} before) with affinity {affinity:.2f}; "
            "no single change that was tried brings the old outputs back."
        )
    elif affinity < _UNRELATED:
        yield (
            f"Another network: its maps are unrelated (affinity {affinity:.2f}), and it has {new.parameters:,} parameters "
            f"instead of {old.parameters:,}."
        )
    else:
        yield f"A related network rather than a copy (affinity {affinity:.2f}), with {new.parameters:,} parameters instead of {old.parameters:,}."


def describe_maps(found: Measures, new: FileFacts, old: FileFacts) -> Iterator[str]:
    """A sentence for an encoder whose outputs agree while its maps don't."""
    cosine, affinity = found.values.get("encoder_cosine", 0.0), found.values["affinity"]
    if not encoder_is_equal(found) or affinity >= _INEXACT:
        return
    words = f"The encoder gives the old outputs (cosine {cosine:.4f}) but the maps differ (affinity {affinity:.2f})"
    if _zeros_differ(new, old):
        yield (
            f"{words}: the input has another scale, as where a normalisation has moved into or out of the network. "
            "Compare maps that don't depend on that by --baseline black."
        )
    else:
        yield f"{words}: what is computed between image and encoder is different."


def _zeros_differ(new: FileFacts, old: FileFacts) -> bool:
    """Whether the inputs hold another colour as 0; also where a baseline of an older version does not say it."""
    if not (new.zero and old.zero):
        return True
    return bool(np.abs(np.broadcast_to(new.zero, 3) - np.broadcast_to(old.zero, 3)).max() > _ANOTHER_ZERO)


def _is_quantised(facts: FileFacts) -> bool:
    return any("Quant" in name or "QLinear" in name for name in facts.operators)


def _is_same_architecture(new: FileFacts, old: FileFacts) -> bool:
    """Whether two files may hold one architecture, folded or not: as many layers, and about as many parameters."""
    layers = [sum(count for name, count in one.operators.items() if _LAYER.search(name)) for one in (new, old)]
    return layers[0] == layers[1] and abs(new.parameters - old.parameters) <= 0.02 * max(new.parameters, old.parameters)
