"""Sketches of the trained layers of a network, by which two files are seen to hold one network, also where normalisations are merged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.storage.json_fields import is_text, is_whole, require

#: Layers of a sketch, rows of each (one per output channel), and numbers of each row.
MOST_LAYERS, MOST_ROWS, NUMBERS = 12, 8, 2
#: The angle of two rows whose cosine is .999, which is also the distance of their numbers.
_ANGLE = math.acos(0.999)
#: The least share of layers that two networks have in common, and the least number of rows by which a layer tells anything.
_SHARE, _FEWEST_ROWS = 0.5, 4
#: The largest difference of what first layers compute, and the share of the largest channel below which one is dead.
_SAME_EFFECT, _DEAD = 0.05, 1e-3
_MOST_TEXT, LARGEST = 1000, 1e30
#: Shifts and factors of MurmurHash3's last steps, which make random bits of a number.
_MIXING = ((16, 2246822507), (13, 3266489909))


@dataclass(frozen=True)
class LayerSketch:
    """A trained layer: its number of output channels, of weights per channel, and `numbers` of some channels.

    `numbers` are, for up to `MOST_ROWS` evenly spaced channels, `NUMBERS` absolute values of random projections of the channel's
    weights, which are scaled to unit length first: a normalisation that was merged into the layer changes none of them. A channel
    without weights has an empty row.
    """

    channels: int
    length: int
    numbers: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class WeightSketch:
    """What is compared of a network's weights.

    `architecture` is 16 hex digits, equal where all trained layers have equal shapes. `front` describes the arithmetic in front of
    the first layer, `effect` has for the channels of the first layer's sketch the length of the weights and the bias, after the
    normalisation behind it: both are equal for equal pixels. `layers` are the first ones in topological order.
    """

    architecture: str
    front: str = ""
    effect: tuple[tuple[float, float], ...] = ()
    layers: tuple[LayerSketch, ...] = ()


def project_rows(rows: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """The numbers of a sketch for rows of weights, float64 [rows, length]."""
    directions = _draw_directions(rows.shape[1])
    lengths = np.linalg.norm(rows, axis=1)
    live = np.isfinite(lengths) & (lengths > 0)
    unit = rows / np.where(live, lengths, 1.0)[:, None]
    numbers = np.abs(np.where(live[:, None], unit, 0.0) @ directions).round(4)
    return tuple(tuple(row) if alive else () for row, alive in zip(numbers.tolist(), live, strict=True))


def _draw_directions(length: int) -> NDArray[np.float64]:
    """Pseudo-random numbers of mean 0 and variance 1, float64 [length, NUMBERS], by integers alone: the same for every version."""
    mixed = np.arange(length * NUMBERS, dtype=np.uint32) * np.uint32(2654435761)
    for shift, factor in _MIXING:
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    values: NDArray[np.float64] = (mixed / (2**32 - 1) - 0.5) * math.sqrt(12)
    return values.reshape(length, NUMBERS)


def are_one_network(a: WeightSketch, b: WeightSketch) -> bool:
    """Whether two files hold one network with the same pixels, as far as their weights tell.

    The arithmetic in front is equal, the first layers compute the same of it, and in at least half of the layers the weights of
    each channel are collinear, with a cosine of .999 or more.

    >>> are_one_network(WeightSketch("0"), WeightSketch("0"))
    False
    """
    if not a.layers or not b.layers or a.front != b.front:
        return False
    return _agree(a.layers[0], b.layers[0]) and _have_one_effect(a.effect, b.effect) and _share_layers(a, b) >= _SHARE


def _share_layers(a: WeightSketch, b: WeightSketch) -> float:
    common = sum(any(_agree(one, other) for other in b.layers) for one in a.layers)
    return common / max(len(a.layers), len(b.layers))


def _agree(a: LayerSketch, b: LayerSketch) -> bool:
    if (a.channels, a.length) != (b.channels, b.length):
        return False
    pairs = [(one, other) for one, other in zip(a.numbers, b.numbers, strict=False) if one and other]
    if len(pairs) < min(_FEWEST_ROWS, a.channels):
        return False
    gaps = np.array([pair[0] for pair in pairs]) - np.array([pair[1] for pair in pairs])
    return bool(np.median(np.sqrt(np.mean(gaps**2, axis=1))) <= _ANGLE)


def _have_one_effect(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> bool:
    """Whether first layers have the same lengths of weights, and the same biases as a share of the largest length or bias."""
    if not a or len(a) != len(b):
        return False
    one, other = np.array(a), np.array(b)
    scale = np.maximum(np.abs(one).max(), np.abs(other).max())
    longer = np.maximum(np.maximum(one[:, 0], other[:, 0]), _DEAD * scale)
    lengths = np.abs(one[:, 0] - other[:, 0]) <= _SAME_EFFECT * longer
    biases = np.abs(one[:, 1] - other[:, 1]) <= _SAME_EFFECT * scale
    return int((~(lengths & biases)).sum()) <= len(one) // MOST_ROWS


def parse_weight_sketch(found: Any) -> WeightSketch:
    """Check a sketch in untrusted JSON. Raises ValueError."""
    require(isinstance(found, Mapping) and is_text(found.get("architecture"), 16), "sketch of weights")
    front, effect, layers = found.get("front", ""), found.get("effect", ()), found.get("layers", ())
    require(is_text(front, _MOST_TEXT) and _is_list(effect, MOST_ROWS) and _is_list(layers, MOST_LAYERS), "sketch of weights")
    pairs = tuple(_read_numbers(pair) for pair in effect)
    require(all(len(pair) == 2 for pair in pairs), "effect of the first layer")
    return WeightSketch(found["architecture"], front, tuple((a, b) for a, b in pairs), tuple(map(_read_layer, layers)))


def _read_layer(found: Any) -> LayerSketch:
    require(isinstance(found, Mapping), "layer")
    channels, length, rows = found.get("channels"), found.get("length"), found.get("numbers", ())
    require(is_whole(channels, 0, 2**62) and is_whole(length, 0, 2**62) and _is_list(rows, MOST_ROWS), "layer")
    numbers = tuple(_read_numbers(row) for row in rows)
    require(all(len(row) in (0, NUMBERS) for row in numbers), "numbers of a layer")
    return LayerSketch(int(channels), int(length), numbers)


def _is_list(value: Any, most: int) -> bool:
    return isinstance(value, list | tuple) and len(value) <= most


def _read_numbers(value: Any) -> tuple[float, ...]:
    require(_is_list(value, NUMBERS) and all(type(n) in (int, float) and abs(n) <= LARGEST for n in value), "numbers")
    return tuple(float(n) for n in value)
