"""Whether an artifact's outputs are the old ones by another last step, in another order, or on another scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.measure_outputs import Pair
from onnxspace.checking.measure_signals import drop_unit_axes
from onnxspace.checking.permuted_classes import describe_permutation
from onnxspace.checking.values import NUMBERS, OPEN, Signal, sketch_row

#: Values of one image: float64 of the image's shape.
Values = NDArray[np.float64]
#: Relative difference up to which a last step explains an output, and how much less than without it that must be.
_SAME, _LESS = 0.02, 0.2
_EPSILON, _ROOM = 1e-12, 1e-3
#: Share of its norm below which an output does not vary over images.
_STILL = 1e-5
#: Images on which last steps are tried, and the most values of one.
_IMAGES, _MOST_VALUES = 32, 2**22


@dataclass(frozen=True)
class Step:
    """A last step of networks, its inverse, and whether values may be its results.

    An inverse that is known up to a number per image only is `shifted`.
    """

    name: str
    apply: Callable[[Values, int], Values]
    invert: Callable[[Values, int], Values]
    fits: Callable[[Values, int], bool]
    shifted: bool = False


def _softmax(values: Values, axis: int) -> Values:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _sigmoid(values: Values, _axis: int) -> Values:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


def _logit(values: Values, _axis: int) -> Values:
    inside = np.clip(values, _EPSILON, 1 - 1e-7)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _log(values: Values, _axis: int) -> Values:
    return np.log(np.maximum(values, _EPSILON))


def _log_softmax(values: Values, axis: int) -> Values:
    return np.log(np.maximum(_softmax(values, axis), 1e-300))


def _sums_to_one(values: Values, axis: int) -> bool:
    return bool(values.min() >= 0 and np.abs(values.sum(axis=axis) - 1).max() <= _ROOM)


def _is_within(low: float, high: float) -> Callable[[Values, int], bool]:
    return lambda values, _axis: bool(values.min() >= low and values.max() <= high)


STEPS = (
    Step("Sigmoid", _sigmoid, _logit, _is_within(0, 1)),
    Step("Softmax", _softmax, _log, _sums_to_one, shifted=True),
    Step(
        "LogSoftmax",
        _log_softmax,
        lambda v, _axis: v,
        lambda v, axis: _sums_to_one(np.exp(np.minimum(v, 80)), axis),
        shifted=True,
    ),
    Step("Tanh", lambda v, _axis: np.tanh(v), lambda v, _axis: np.arctanh(np.clip(v, -1 + 1e-7, 1 - 1e-7)), _is_within(-1, 1)),
    Step("Exp", lambda v, _axis: np.exp(np.minimum(v, 80)), _log, _is_within(0, np.inf)),
)
#: Steps whose inputs are called logits.
_OF_LOGITS = ("Sigmoid", "Softmax", "LogSoftmax")


def describe_endings(pairs: Sequence[Pair], equal: str) -> Iterator[str]:
    """A sentence for each output that differs by its last step, its order or its scale; `equal` says which parts are equal."""
    tail = f"; {equal}" if equal else ""
    for pair in pairs:
        if _fits(pair) and (found := _describe_constant(pair) or _describe_change(pair)):
            yield f"Output {pair.name} {found}{tail}."


def _describe_change(pair: Pair) -> str | None:
    return _describe_step(pair) or describe_permutation(pair) or _describe_scale(pair)


def _describe_constant(pair: Pair) -> str | None:
    """For values that no longer depend on the image."""
    still = [signal.varying <= _STILL**2 * float(np.square(signal.lengths).sum()) for signal in (pair.new, pair.old)]
    return "is the same for every image, which the old one is not" if still == [True, False] and pair.old.images > 1 else None


def _fits(pair: Pair) -> bool:
    """Whether the values of the artifact are here, finite, few enough, and of one size for all images."""
    rows = pair.new.rows
    return rows is not None and bool(pair.new.finite.all()) and 0 < rows.shape[1] <= _MOST_VALUES and OPEN not in pair.new.shape


def _describe_step(pair: Pair) -> str | None:
    plain = _gap(_values(pair.new), pair.old, shifted=False)
    for step in STEPS:
        for axis in _axes(pair.new.shape):
            if _explains(_gap(_through(pair.new, step.apply, axis), pair.old, shifted=False), plain):
                return _describe_dropped(step)
            fits = all(step.fits(values, axis) for values in _values(pair.new))
            if fits and _explains(_added_gap(pair, step, axis), plain):
                return _describe_added(step)
    return None


def _describe_dropped(step: Step) -> str:
    what = "the old one's logits" if step.name in _OF_LOGITS else f"what the old one is the {step.name} of"
    return f"holds {what}: a final {step.name} was dropped"


def _describe_added(step: Step) -> str:
    what = "its logits" if step.name in _OF_LOGITS else "its input"
    return f"is the {step.name} of the old one, which holds {what}: a final {step.name} was added"


def _explains(gap: float, plain: float) -> bool:
    return gap <= _SAME and gap <= _LESS * plain


def _axes(shape: tuple[int, ...]) -> list[int]:
    """The axes that may be those of classes: the first and the last of several values."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    return list(dict.fromkeys([long[0], long[-1]])) if long else [0]


def _values(signal: Signal) -> list[Values]:
    """The values of a few images, each of the output's shape."""
    rows = signal.rows if signal.rows is not None else np.zeros((0, 1), np.float32)
    return [row.astype(np.float64).reshape(signal.shape or (1,)) for row in rows[:_IMAGES]]


def _through(signal: Signal, function: Callable[[Values, int], Values], axis: int) -> list[Values]:
    return [function(values, axis) for values in _values(signal)]


def _added_gap(pair: Pair, step: Step, axis: int) -> float:
    """How far the artifact is from `step` of the old values; from sketches, how far its inverse is from them."""
    if pair.old.rows is not None and drop_unit_axes(pair.old.shape) == drop_unit_axes(pair.new.shape):
        old = [function.reshape(pair.new.shape or (1,)) for function in _values(pair.old)]
        expected = Signal.of(np.stack([step.apply(v, axis).ravel() for v in old]).astype(np.float32), pair.new.shape)
        return _gap(_values(pair.new), expected, shifted=False)
    return _gap(_through(pair.new, step.invert, axis), pair.old, shifted=step.shifted)


def _gap(values: Sequence[Values], old: Signal, *, shifted: bool) -> float:
    """The relative difference of values and an old signal over all images; `shifted` allows for a number added per image."""
    gaps, lengths = 0.0, 0.0
    for image, one in enumerate(values):
        mine, theirs = _vectors(one.ravel(), old, image)
        difference = mine - theirs
        if shifted:
            constant = _vectors(np.ones(one.size), old, image)[0]
            difference -= constant * (difference @ constant / max(float(constant @ constant), 1e-30))
        gaps += float(difference @ difference)
        lengths += float(theirs @ theirs)
    gap = float(np.sqrt(gaps / max(lengths, 1e-30)))
    return gap if np.isfinite(gap) else np.inf


def _vectors(row: Values, old: Signal, image: int) -> tuple[Values, Values]:
    """The values of an image and the old ones, or the sketches of both where the old values are not here."""
    if old.rows is not None and old.rows.shape[1] == len(row):
        return row.copy(), old.rows[image].astype(np.float64)
    length = float(np.linalg.norm(row))
    sketch = sketch_row(row, image).astype(np.float64) * length if np.isfinite(length) else np.full(NUMBERS, np.inf)
    return sketch, old.sketch[image].astype(np.float64) * old.lengths[image]


def _describe_scale(pair: Pair) -> str | None:
    """For values that are the old ones times a number, plus another."""
    values = _values(pair.new)
    both = [_vectors(one.ravel(), pair.old, image) for image, one in enumerate(values)]
    ones = [_vectors(np.ones(one.size), pair.old, image)[0] for image, one in enumerate(values)]
    if any(np.linalg.norm(theirs) == 0 for _, theirs in both) or values[0].size < 2:
        return None
    table = np.stack([np.concatenate([theirs for _, theirs in both]), np.concatenate(ones)], axis=1)
    target = np.concatenate([mine for mine, _ in both])
    (factor, shift), *_ = np.linalg.lstsq(table, target, rcond=None)
    rest = float(np.linalg.norm(table @ [factor, shift] - target) / max(float(np.linalg.norm(target)), 1e-30))
    spread = float(np.linalg.norm(target - target.mean())) / max(float(np.linalg.norm(target)), 1e-30)
    if rest > min(_SAME, 0.1 * spread) or (
        abs(factor - 1) < _SAME and abs(shift) * np.sqrt(len(target)) < _SAME * np.linalg.norm(target)
    ):
        return None
    return f"is the old one times {factor:.4g}, plus {shift:.4g}: it is on another scale"
