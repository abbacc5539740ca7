"""Which pixels a network was trained with, as far as its file tells: an input quantiser, stored statistics, merged ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.pixel_habits import Habit
from onnxspace.model.pixel_images import feed_preset, list_candidates
from onnxspace.model.pixel_parts import ImageNetwork, Tensor
from onnxspace.model.pixel_pictures import RATIO, REPEATED, score_pictures
from onnxspace.model.pixel_statistics import ChannelStatistics, measure_channels, measure_input
from onnxspace.model.pixel_tensors import LIVE, find_first_layers, find_quantised_range, find_stored_statistics

_EIGHT_BIT = frozenset({onnx.TensorProto.UINT8, onnx.TensorProto.INT8})
#: The least difference of two scores of stored statistics at which the better one is right (docs/pixels.md).
MARGIN_STORED = 0.25
#: The same for the means of first layers, which only decide what is guessed.
DEPARTURE = 0.05
#: The largest deviation over images of a first layer that gets too small values, and by how much more it varies for 0–255.
STILL, LIVELY = 0.011, 10.0
_LARGE = ("byte", "imagenet-bgr-mean")
_WORST_STORED = 2.0  # above it no candidate explains the statistics
#: The same for ranges of quantisers, as a share of the range; and the largest difference from a preset's own range.
_MARGIN, _FITTING = 0.25, 0.15


@dataclass(frozen=True)
class PixelEvidence:
    """What a file tells of its pixels.

    `preset` is the name of the best candidate of `onnxspace.inputs.pixel_presets`, `sure` whether it stands out from all others,
    `reason` says why in words, and `scores` has a number per candidate, lower for a better one. `departure` is the difference of
    scores from which the best one is a better guess than what is guessed without evidence.
    """

    preset: str
    sure: bool
    reason: str
    scores: dict[str, float]
    departure: float = math.inf

    def guess(self, habit: Habit) -> str:
        """The preset to guess where none stands out: the habit's, or the best one where its score is lower by `departure`."""
        departure = self.departure if habit.departure is None else min(self.departure, habit.departure)
        better = not habit.firm and self.scores.get(habit.preset, math.inf) - self.scores[self.preset] >= departure
        return self.preset if self.sure or better else habit.preset


def infer_pixels(model: ImageNetwork) -> PixelEvidence | None:
    """Infer which preset a network's pixels had in training from its file alone; None where the file tells nothing.

    `model` is a `Model`, whose size, layout and colours are used and whose own range is not. The first of these that a file has
    decides: the range of a quantiser on its image; the stored statistics of its first batch normalisation (`compare_statistics`),
    which are those of its training images; an output that is the picture itself (`score_pictures`); a first layer that hardly varies for
    small values; the means of its first three layers (`score_offsets`). The last three are hints only and never `sure`. The order of colours can't be told. Never raises: what can't be run is no evidence.

    >>> infer_pixels(open_model("ppocr_det.onnx")).preset  # doctest: +SKIP
    'imagenet'
    """
    if model.image.elem_type in _EIGHT_BIT:
        return None
    try:
        return _judge_quantiser(model) or _judge_stored(model) or _judge_pictures(model) or _judge_offsets(model)
    except Exception:  # ONNX Runtime's errors share no base class; a file that it can't run is refused later, in words
        return None


def _judge_quantiser(model: ImageNetwork) -> PixelEvidence | None:
    span = find_quantised_range(model.network.graph, model.image.name)
    if span is None:
        return None
    scores = {name: _compare_ranges(span, _range_of(model.preprocess, name)) for name in list_candidates(model.preprocess)}
    best, other = _rank(scores)
    fits = scores[best] < _FITTING and scores[other] - scores[best] >= _MARGIN
    low, high = span
    return PixelEvidence(best, fits, f"the quantiser of its image covers {low:.3g} to {high:.3g}", scores)


def _judge_stored(model: ImageNetwork) -> PixelEvidence | None:
    found = find_stored_statistics(model.network.graph, model.image.name)
    if not found:
        return None
    first = min(found, key=lambda one: one.below)
    scores = {name: compare_statistics(measured, first.stored) for name, measured in _measure_one(model, first.tensor).items()}
    best, other = _rank(scores)
    sure = scores[best] <= _WORST_STORED and scores[other] - scores[best] >= MARGIN_STORED
    fit = f"the statistics that {first.name} stored in training fit {_name(best)} ({scores[best]:.2f})"
    reason = f"{fit}, then {other} ({scores[other]:.2f}; 0 is equal)"
    return PixelEvidence(best, sure, reason if sure else f"{reason}, which does not tell them apart", scores)


def _measure_one(model: ImageNetwork, tensor: Tensor) -> dict[str, ChannelStatistics]:
    if tensor.name == model.image.name:
        return measure_input(model)
    return {name: measured[tensor.name] for name, measured in measure_channels(model, [tensor]).items()}


def _judge_pictures(model: ImageNetwork) -> PixelEvidence | None:
    """A hint where the output is the picture that was given; what can't be run as a whole is none."""
    try:
        scores = score_pictures(model)
    except Exception:  # ONNX Runtime's errors share no base class; the first layers may still tell something
        return None
    if not scores:
        return None
    best, other = _rank(scores)
    if scores[best] > REPEATED or scores[best] > RATIO * scores[other]:
        return None
    reason = f"its output repeats the image under {_name(best)} (departure {scores[best]:.2g}; {other} {scores[other]:.2g}), which is a hint only"
    return PixelEvidence(best, False, reason, scores, -math.inf)


def _judge_offsets(model: ImageNetwork) -> PixelEvidence | None:
    layers = find_first_layers(model.network.graph, model.image.name)
    if not layers:
        return None
    measured = measure_channels(model, layers)
    scores = {name: score_offsets(found) for name, found in measured.items()}
    if (large := _judge_scale(layers[0].name, measured, scores)) is not None:
        return large
    best, other = _rank(scores)
    reason = f"its first layers are best centred under {_name(best)} ({scores[best]:.2f}; {other} {scores[other]:.2f}), which is a hint only"
    return PixelEvidence(best, False, reason, scores, DEPARTURE)


def _judge_scale(
    first: str, measured: Mapping[str, Mapping[str, ChannelStatistics]], scores: dict[str, float]
) -> PixelEvidence | None:
    """A hint where the first layer hardly varies unless pixels are 0 to 255: its weights are too small for any other range."""
    spreads = {name: float(np.median(np.sqrt(found[first].variance))) for name, found in measured.items()}
    if spreads["symmetric"] > STILL or spreads["byte"] < STILL * LIVELY:
        return None
    best = min((name for name in _LARGE if name in scores), key=lambda name: scores[name])
    reason = f"its first layer hardly varies for smaller values (deviation {spreads['symmetric']:.2g} for symmetric, {spreads['byte']:.2g} for byte), which is a hint only"
    return PixelEvidence(best, False, reason, scores, -math.inf)


def _rank(scores: Mapping[str, float]) -> tuple[str, str]:
    """The best and the second best candidate."""
    first, second, *_ = sorted(scores, key=lambda name: scores[name])
    return first, second


def _name(preset: str) -> str:
    return "imagenet or clip" if preset == "imagenet" else preset


def _range_of(preprocess: Preprocess, name: str) -> tuple[float, float]:
    """The least and the largest value of any channel under a preset."""
    pixels = np.repeat(np.array([0, 255], np.uint8), preprocess.channels).reshape(1, 2, 1, preprocess.channels)
    values = feed_preset(preprocess, name).values(pixels)
    return float(values.min()), float(values.max())


def _compare_ranges(span: tuple[float, float], other: tuple[float, float]) -> float:
    """Distance of two ranges, as a share of the longer one: 0 where they are equal."""
    return (abs(span[0] - other[0]) + abs(span[1] - other[1])) / max(span[1] - span[0], other[1] - other[0])


def score_offsets(measured: Mapping[str, ChannelStatistics]) -> float:
    """How far layers are from being centred: mean over layers and channels of log(1 + m²), m the channel's mean.

    A normalisation that was merged into a layer left it channels with means near 0 for the pixels of its training.
    """
    return float(np.mean([np.mean(np.log1p(one.mean**2)) for one in measured.values()]))


def compare_statistics(measured: ChannelStatistics, stored: ChannelStatistics) -> float:
    """How far measured channels are from stored ones: mean over channels of log(1 + J), 0 where they agree.

    With mean m and variance v under a candidate, and M and V stored,
    J = ½ · [(v + (m − M)²) / V + (V + (m − M)²) / v − 2]
    is the symmetric Kullback–Leibler divergence of two Gaussians. Channels without stored variance are left out.
    """
    live = stored.variance > LIVE
    m, v = measured.mean[live], np.maximum(measured.variance[live], 1e-12)
    gap, variance = (m - stored.mean[live]) ** 2, stored.variance[live]
    divergence = ((v + gap) / variance + (variance + gap) / v - 2) / 2
    return float(np.mean(np.log1p(divergence)))
