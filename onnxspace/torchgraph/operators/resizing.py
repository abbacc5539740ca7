"""Resize and Upsample: along each axis, every output element is a weighted sum of a few input elements."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_COORDINATES = {
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
}  # fmt: skip
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


def resize_axis(x: Tensor, dim: int, axis: Axis, settings: ResizeSettings) -> Tensor:
    """Resize the axis `dim` of `x`, as `axis` and `settings` describe."""
    index, weights, outside = find_taps(axis, settings)
    beyond = bool(outside.any())
    index, weights, outside = index.to(x.device), weights.to(x.device, x.dtype), outside.to(x.device)
    shape = [-1] + [1] * (x.dim() - 1 - dim % x.dim())
    parts = [x.index_select(dim, index[:, k]) for k in range(index.shape[1])]
    if len(parts) == 1:
        result = parts[0]
    elif len(parts) == 2:
        result = torch.lerp(parts[0], parts[1], weights[:, 1].reshape(shape))
    else:
        result = functools.reduce(torch.add, [part * weights[:, k].reshape(shape) for k, part in enumerate(parts)])
    return torch.where(outside.reshape(shape), settings.outside, result) if beyond else result


class Resize(nn.Module):
    """Resizes the axes whose length changes.

    The first of three or more axes holds images and never changes, so that `sizes` for a batch of one apply to any batch.
    """

    def __init__(
        self, settings: ResizeSettings, axes: list[int] | None, policy: str, stored: Sequence[list[float] | None]
    ) -> None:
        super().__init__()
        self.settings, self.axes, self.policy, self.stored = settings, axes, policy, list(stored)

    def forward(
        self, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
    ) -> Tensor:
        given = [
            kept if kept is not None else [] if value is None else [float(n) for n in value.reshape(-1).tolist()]
            for kept, value in zip(self.stored, (roi, scales, sizes), strict=True)
        ]
        data = x if x.is_floating_point() or self.settings.mode == "nearest" else x.float()
        for dim, axis in self._plan(x.shape, *given):
            data = resize_axis(data, dim, axis, self.settings)
        return data.to(x.dtype)

    def _plan(self, shape: Sequence[int], roi: list[float], scales: list[float], sizes: list[float]) -> list[tuple[int, Axis]]:
        """The axes that are resized, with their numbers."""
        dims = list(range(len(shape))) if self.axes is None else [a % len(shape) for a in self.axes]
        lengths = [shape[d] for d in dims]
        wanted, factors = self._target_lengths(lengths, scales, sizes)
        cropped = self.settings.coordinates == "tf_crop_and_resize"
        region = roi if cropped and roi else [0.0] * len(dims) + [1.0] * len(dims)
        ends = zip(region[: len(dims)], region[len(dims) :], strict=True)
        found = []
        for d, n, m, factor, (start, end) in zip(dims, lengths, wanted, factors, ends, strict=True):
            same = n == m and factor == 1 and (start, end) == (0.0, 1.0)
            if not same and not (d == 0 and len(shape) >= 3):
                found.append((d, Axis(n, m, factor, start, end)))
        return found

    def _target_lengths(self, lengths: list[int], scales: list[float], sizes: list[float]) -> tuple[list[int], list[float]]:
        """The new length of each axis, and its factor."""
        if not sizes:
            return [math.floor(_round_to_single(f * n)) for f, n in zip(scales, lengths, strict=True)], scales
        factors = [_round_to_single(m / n) for m, n in zip(sizes, lengths, strict=True)]
        if self.policy == "stretch":
            return [int(m) for m in sizes], factors
        factor = min(factors) if self.policy == "not_larger" else max(factors)
        return [math.floor(_round_to_single(factor * n) + 0.5) for n in lengths], [factor] * len(lengths)


def _round_to_single(value: float) -> float:
    """A number rounded to single precision."""
    return float(torch.tensor(value, dtype=torch.float32))


def _stored_floats(node: Node, index: int) -> list[float] | None:
    value = node.constant_of(node.proto.input[index]) if node.has(index) else None
    return None if value is None else [float(n) for n in value.reshape(-1)]


def _read_mode(node: Node) -> str:
    mode = {"bilinear": "linear"}.get(node.get("mode", "nearest"), node.get("mode", "nearest"))
    if mode not in ("nearest", "linear", "cubic"):
        raise NotImplementedError(f"mode {mode}")
    return str(mode)


@converter("Resize", 11, 13, 18, 19)
def resize(node: Node) -> TorchOperator:
    """Resize in every mode."""
    coordinates = node.get("coordinate_transformation_mode", "half_pixel")
    if coordinates not in _COORDINATES:
        raise NotImplementedError(f"coordinates {coordinates}")
    settings = ResizeSettings(
        _read_mode(node),
        coordinates,
        node.get("nearest_mode", "round_prefer_floor"),
        float(node.get("cubic_coeff_a", -0.75)),
        bool(node.get("exclude_outside", 0)),
        float(node.get("extrapolation_value", 0.0)),
        bool(node.get("antialias", 0)),
    )
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    return Resize(settings, node.get("axes"), policy, [_stored_floats(node, i) for i in (1, 2, 3)])


class Upsample(nn.Module):
    """Resize in its oldest form: by factors only, with asymmetric coordinates."""

    def __init__(self, mode: str, scales: list[float] | None) -> None:
        super().__init__()
        self.resize = Resize(ResizeSettings(mode), None, "stretch", ([], scales, []))

    def forward(self, x: Tensor, scales: Tensor | None = None) -> Tensor:
        result: Tensor = self.resize(x, None, scales)
        return result


@converter("Resize", 10)
@converter("Upsample", 9, 10)
def upsample(node: Node) -> TorchOperator:
    """Upsample, and the equivalent Resize of version 10, with factors as an input."""
    return Upsample(_read_mode(node), _stored_floats(node, 1))


@converter("Upsample", 7)
def upsample_by_attribute(node: Node) -> TorchOperator:
    """Upsample with factors as an attribute."""
    return Upsample(_read_mode(node), [float(n) for n in node.get("scales")])


@converter("Upsample", 1)
def upsample_plane(node: Node) -> TorchOperator:
    """Upsample of the first version, with a factor each for height and width."""
    return Upsample(_read_mode(node), [1.0, 1.0, float(node.get("height_scale")), float(node.get("width_scale"))])
