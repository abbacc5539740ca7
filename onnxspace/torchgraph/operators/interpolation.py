"""Interpolation along one axis: every output element is a weighted sum of a few input elements."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_TIE = 1e-6  # positions this close to the middle between two elements count as ties


@dataclass(frozen=True)
class ResizeSettings:
    """How source positions and weights are computed; `nearest` may also be "simple", the rule of the oldest versions."""

    mode: str
    coordinates: str = "asymmetric"
    nearest: str = "simple"
    cubic: float = -0.75
    exclude: bool = False
    outside: float = 0.0
    antialias: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis that is resized: its length, its new length, the factor, and the ends of the cropped region (0 to 1)."""

    length: int
    wanted: int
    scale: float
    start: float = 0.0
    end: float = 1.0


def _source_positions(axis: Axis, coordinates: str) -> Tensor:
    """Position of each output element on the input's axis, in single precision as in ONNX Runtime, so that ties agree."""
    one = np.float32
    i, scale, last = np.arange(axis.wanted, dtype=one), one(axis.scale), one(axis.length - 1)
    start, end, half = one(axis.start), one(axis.end), one(0.5)
    exact = scale * one(axis.length)
    if coordinates == "asymmetric":
        found = i / scale
    elif coordinates == "tf_half_pixel_for_nn":
        found = (i + half) / scale
    elif coordinates == "align_corners":
        steps = one(axis.wanted) if abs(exact - axis.wanted) < 1e-3 else exact
        found = i * last / (steps - one(1)) if steps != 1 else i * 0
    elif coordinates == "tf_crop_and_resize" and axis.wanted == 1:
        found = i + half * (start + end) * last
    elif coordinates == "tf_crop_and_resize":
        found = start * last + i * (end - start) * last / one(axis.wanted - 1)
    elif coordinates == "half_pixel_symmetric":
        offset = one(axis.length) / one(2) * (one(1) - one(axis.wanted) / exact)
        found = (float(offset) + (np.arange(axis.wanted) + 0.5) / float(scale) - 0.5).astype(one)
    else:
        single = coordinates == "pytorch_half_pixel" and axis.wanted == 1
        found = i if single else (i + half) / scale - half
    return torch.from_numpy(found)


def _nearest(places: Tensor, rule: str, scale: float) -> Tensor:
    low = places.floor()
    if rule == "simple":
        rule = "ceil" if scale < 1 else "floor"
    if rule == "round_prefer_floor":
        return low + (places - low > 0.5 + _TIE)
    if rule == "round_prefer_ceil":
        return low + (places - low >= 0.5 - _TIE)
    return low if rule == "floor" else places.ceil()


def _kernel(distance: Tensor, settings: ResizeSettings) -> Tensor:
    """The weight of an input element by its distance: a triangle, or the cubic kernel of Keys (1981)."""
    d = distance.abs()
    if settings.mode == "linear":
        return (1 - d).clamp(min=0)
    a = settings.cubic
    inner = ((a + 2) * d - (a + 3)) * d * d + 1
    outer = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, inner, torch.where(d < 2, outer, torch.zeros_like(d)))


def find_taps(axis: Axis, settings: ResizeSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Find, for each output element, the indices and weights of its input elements, and whether it lies outside the input.

    Returns indices and weights [output length, taps], and a boolean tensor [output length].
    """
    places = _source_positions(axis, settings.coordinates)
    cropped = settings.coordinates == "tf_crop_and_resize"
    outside = ((places < 0) | (places > axis.length - 1)) & cropped
    if settings.mode == "nearest":
        index = _nearest(places, settings.nearest, axis.scale)[:, None]
        weights = torch.ones_like(index)
    else:
        shrink = min(axis.scale, 1.0) if settings.antialias else 1.0
        reach = math.ceil((1 if settings.mode == "linear" else 2) / shrink)
        index = places.floor()[:, None] + torch.arange(1 - reach, reach + 1)
        weights = _kernel((index - places[:, None]) * shrink, settings)
        if settings.exclude:
            weights = weights * ((index >= 0) & (index < axis.length))
        weights = weights / weights.sum(1, keepdim=True)
    index = index.clamp(0, axis.length - 1).long()
    return index, weights, outside


#: What `find_taps` finds, on a device: None in the place of a tensor that is False everywhere.
Taps = tuple[Tensor, Tensor, Tensor | None]
_held: ContextVar[list[Taps] | None] = ContextVar("held", default=None)


@contextmanager
def hold_taps() -> Iterator[list[Taps]]:
    """Collect what is kept between passes and read in the block: what records a pass holds it, as a full cache drops the oldest."""
    found: list[Taps] = []
    token = _held.set(found)
    try:
        yield found
    finally:
        _held.reset(token)


def _taps_on(axis: Axis, settings: ResizeSettings, device: torch.device, dtype: torch.dtype) -> Taps:
    taps = keep_taps(axis, settings, device, dtype)
    if (held := _held.get()) is not None:
        held.append(taps)
    return taps


@functools.lru_cache(maxsize=256)
def keep_taps(axis: Axis, settings: ResizeSettings, device: torch.device, dtype: torch.dtype) -> Taps:
    """What `find_taps` finds, on a device; kept, because copying it there for every batch makes a GPU wait."""
    with torch.inference_mode(False):
        index, weights, outside = find_taps(axis, settings)
        return index.to(device), weights.to(device, dtype), outside.to(device) if bool(outside.any()) else None


def mark_constants() -> None:
    """Tell Torch's compiler, which takes a second to import, that what `_taps_on` returns is constant; called before graphs are compiled."""
    torch.compiler.assume_constant_result(_taps_on)  # type: ignore[no-untyped-call]


def resize_axis(x: Tensor, dim: int, axis: Axis, settings: ResizeSettings) -> Tensor:
    """Resize the axis `dim` of `x`, as `axis` and `settings` describe."""
    index, weights, outside = _taps_on(axis, settings, x.device, x.dtype)
    shape = [-1] + [1] * (x.dim() - 1 - dim % x.dim())
    parts = [x.index_select(dim, index[:, k]) for k in range(index.shape[1])]
    if len(parts) == 1:
        result = parts[0]
    elif len(parts) == 2:
        result = torch.lerp(parts[0], parts[1], weights[:, 1].reshape(shape))
    else:
        result = functools.reduce(torch.add, [part * weights[:, k].reshape(shape) for k, part in enumerate(parts)])
    return result if outside is None else torch.where(outside.reshape(shape), settings.outside, result)
