"""Explain a verdict: what changed in an artifact, from its outputs, input, weights, layers and maps. Only what was measured is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxspace.checking import diagnose
from onnxspace.checking.diagnose_input import find_input_change
from onnxspace.checking.diagnose_outputs import describe_endings
from onnxspace.checking.diagnose_weights import WeightChanges, changes_of_digests, changes_of_values, describe_weights
from onnxspace.checking.measure import METRICS, Measures
from onnxspace.checking.measure_outputs import pair_outputs
from onnxspace.checking.observation import Observation
from onnxspace.checking.verdict import Verdict
from onnxspace.storage.short_text import count

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]
#: Number of images with the most different maps that a verdict names, and a picture shows.
SHOWN = 3


@dataclass(frozen=True)
class Case:
    """An artifact (`new`) and its baseline (`old`), what was measured of them, and the limits by metric.

    `targeted` says that maps explain a class or a value, which depend on what is behind the encoder too.
    """

    limits: Mapping[str, float]
    new: Observation
    old: Observation
    found: Measures
    targeted: bool = False


def explain(verdict: Verdict, case: Case, other: Mapping[str, Any] | None, ask: Ask) -> Verdict:
    """Add reasons, the first different layer and the most different images to a verdict.

    `other` is the baseline's part of a request where it is a model file, else None; `ask` runs a task of a child process on the
    artifact.
    """
    sides = None if other is None else ask("layers", other)
    weights = _find_weights(case, sides)
    endings = describe_endings(pair_outputs(case.new, case.old), diagnose.equal_parts(case.found, weights))
    reasons = [*describe_not_finite(case.new), *endings]
    if not diagnose.encoder_is_equal(case.found):
        reasons += _find_input_reason(case, ask)
    reasons += describe_weights(weights, case.new.facts.biases, explained=bool(reasons))
    reasons += diagnose.describe_relation(case.found, case.new.facts, case.old.facts, weights, explained=bool(reasons))
    if not case.targeted:
        reasons += diagnose.describe_maps(case.found, case.new.facts, case.old.facts)
    layers: Sequence[Mapping[str, Any]] = [] if sides is None else sides["layers"]
    reasons += diagnose.describe_layers(layers)
    if "outputs" in case.limits and "outputs" in case.found.missing:
        reasons.append(f"Not compared: {case.found.missing['outputs']}.")
    layer = diagnose.first_different_layer(layers)
    named = None if layer is None else _describe_layer(layer)
    return replace(verdict, reasons=tuple(reasons), layer=named, images=_different_images(case))


def describe_not_finite(new: Observation) -> Iterator[str]:
    """A sentence for each output that is not finite."""
    for name, signal in new.outputs.items():
        if bad := int((~signal.finite).sum()):
            yield f"Output {name} is NaN or infinite for {bad} of {count(signal.images, 'image')}."


def _find_weights(case: Case, sides: Mapping[str, Any] | None) -> WeightChanges | None:
    if sides is not None:
        return changes_of_values(sides["weights"])
    return changes_of_digests(case.new.facts, case.old.facts)


def _find_input_reason(case: Case, ask: Ask) -> Iterator[str]:
    if case.old.encoder is None or case.new.encoder is None:
        return
    answer = ask("variants", {"fed": [list(pair) for pair in case.old.facts.fed]})
    reason = None if answer is None else find_input_change(answer, case.new, case.old)
    if reason is not None:
        yield reason


def _different_images(case: Case) -> tuple[tuple[int, str, float], ...]:
    """The images whose maps differ by more than the limit of the mean lets pass."""
    limit = case.limits.get("affinity", METRICS["affinity"].limit or 0.0)
    worst = [(i, f"image {i}", float(case.found.cosines[i])) for i in case.found.worst[:SHOWN]]
    return tuple(one for one in worst if one[2] < limit)


def _describe_layer(layer: Mapping[str, Any]) -> str:
    names = layer["new"] if layer["new"] == layer["old"] else f"{layer['new']} ({layer['old']} before)"
    return f"{names}: {layer['difference']:.1%} off"
