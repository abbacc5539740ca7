"""Whether another way to feed an artifact brings the old outputs back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxspace.checking.measure_signals import relative_differences, signal_cosines
from onnxspace.checking.observation import Observation
from onnxspace.checking.values import Signal

#: Mean squared relative difference at the encoder up to which a change of the input explains the difference: a cosine of .999.
_EXPLAINS = 0.002
#: The same where the change removes most of a large difference, and the rest has another cause, such as precision.
_NEARLY = 0.1
_NAMED = 4
#: Operators that shift or scale values.
_NORMALISING = frozenset({
    "Add", "Sub", "Mul", "Div", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization",
    "MeanVarianceNormalization", "LpNormalization", "RMSNormalization",
})  # fmt: skip


def find_input_change(answer: Mapping[str, Any], new: Observation, old: Observation) -> str | None:
    """A sentence on the change of the input that restores the old values at the encoder; None where none does.

    `answer` is that of the task `variants`: `variants` holds the new model's signals (as `Signal.to_dict`) by the words for a change
    of the input, `bare` those without what stands in front of the first layer, whose operators are `operators`, and `alike` the
    signal where the first layer gets what the old one gets.
    """
    if new.encoder is None or old.encoder is None or (plain := _difference(new.encoder, old.encoder)) is None:
        return None
    words = "With another input it gives the old outputs (cosine {cosine:.4f} at the encoder): {change}."
    if (found := _find_best(answer["variants"], old.encoder, plain)) is not None:
        return words.format(change=found[0], cosine=found[1])
    same_front = old.facts.front == tuple(answer["operators"])
    if not same_front and (found := _find_best(answer["bare"], old.encoder, plain)) is not None:
        return _describe_front(answer["operators"], old.facts.front, found[1])
    if (found := _find_best(answer["alike"], old.encoder, plain)) is not None:
        gone = bool(old.facts.front) and not answer["operators"]
        change = f"the normalisation in front of the first layer ({_name(old.facts.front or ())}) is gone" if gone else found[0]
        return words.format(change=change, cosine=found[1])
    return None


def _describe_front(operators: Sequence[str], before: Sequence[str] | None, cosine: float) -> str:
    what = "A normalisation" if _NORMALISING.intersection(operators) else "A step"
    was = "is" if before is None else "was added" if not before else f"has replaced another ({_name(before)})"
    return (
        f"{what} {was} in front of its first layer ({_name(operators)}); without it, it gives the old outputs "
        f"(cosine {cosine:.4f} at the encoder)."
    )


def _name(operators: Sequence[str]) -> str:
    return ", ".join(operators[:_NAMED]) + (f" and {len(operators) - _NAMED} more" if len(operators) > _NAMED else "")


def _find_best(signals: Mapping[str, Any], old: Signal, plain: float) -> tuple[str, float] | None:
    """The change that comes nearest to the old values, and its mean cosine; None where none explains the difference."""
    found = {name: Signal.read(signal) for name, signal in signals.items()}
    gaps = {name: gap for name, signal in found.items() if (gap := _difference(signal, old)) is not None}
    best = min(gaps, key=lambda name: gaps[name], default=None)
    if best is None or not _explains(gaps[best], plain):
        return None
    cosines = signal_cosines(found[best], old)
    return None if cosines is None else (best, float(cosines.mean()))


def _explains(gap: float, plain: float) -> bool:
    return (gap <= _EXPLAINS and gap <= plain / 2) or (gap <= _NEARLY and gap <= plain / 5)


def _difference(new: Signal, old: Signal) -> float | None:
    """The mean of |new − old|² / |old|² over images; None where the shapes don't match."""
    cosines = signal_cosines(new, old)
    return None if cosines is None else float((relative_differences(new.lengths, old.lengths, cosines) ** 2).mean())
