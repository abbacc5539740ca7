"""The outputs of two graphs, and how far they are apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from onnxspace.differences.child.alignment import Described
from onnxspace.differences.child.compare import Comparison
from onnxspace.differences.child.judgement import Match
from onnxspace.differences.child.passes import TensorPair
from onnxspace.differences.child.quantised import find_output_step
from onnxspace.differences.child.signatures import Signature, measure_distance
from onnxspace.differences.child.statistics import PairStatistics


def describe_outputs(found: Comparison) -> list[dict[str, Any]]:
    """The outputs of both graphs, matched by their places, with their errors, as JSON."""
    match = found.match
    names = match.old.side.graph.outputs, match.new.side.graph.outputs
    rows = [_describe_output(found, pair, values) for pair, values in found.outputs]
    rows += [_describe_end(name, None, (first, None)) for name, first in _iterate_rest(match.old, names[0][len(names[1]) :])]
    return rows + [_describe_end(None, name, (None, one)) for name, one in _iterate_rest(match.new, names[1][len(names[0]) :])]


def _iterate_rest(one: Described, names: Sequence[str]) -> Iterator[tuple[str, Signature | None]]:
    """Outputs that the other file lacks."""
    return ((name, one.signatures.get(name)) for name in names)


def _describe_end(old: str | None, new: str | None, signatures: tuple[Signature | None, Signature | None]) -> dict[str, Any]:
    """An output of one file or both, without its errors."""
    facts: dict[str, Any] = {"old": old, "new": new, "max_error": None, "relative_error": None, "permuted": False, "step": None}
    for side, found in zip(("old", "new"), signatures, strict=True):
        facts |= {f"{side}_shape": list(found.shape) if found else [], f"{side}_bad": found.bad if found else 0.0}
    return facts


def _describe_output(found: Comparison, pair: TensorPair, values: PairStatistics | None) -> dict[str, Any]:
    numbers = {"max_error": None, "relative_error": None} if values is None or values.bad else values.to_dict()
    first, second = found.match.old.signatures.get(pair.old), found.match.new.signatures.get(pair.new)
    near = (
        first is not None
        and second is not None
        and not first.is_blank
        and measure_distance(first, second) <= found.match.limit / 10
    )
    permuted = near and values is not None and values.relative > 10 * found.match.limit
    step = _find_step(found.match, pair) or None
    errors = {key: numbers[key] for key in ("max_error", "relative_error")}
    return {**_describe_end(pair.old, pair.new, (first, second)), **errors, "permuted": permuted, "step": step}


def _find_step(match: Match, pair: TensorPair) -> float:
    """The larger step between two integers for which the values of either output stand."""
    sides = zip((match.old, match.new), (pair.old, pair.new), match.scales, strict=True)
    return max(find_output_step(one.side, name, scales) for one, name, scales in sides)
