"""Resize and Upsample: which axes change, to what length, and how they are interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from onnxspace.torchgraph.operators.interpolation import Axis, ResizeSettings, resize_axis
from onnxspace.torchgraph.registry import HostValue, Node, TorchOperator, converter, read_on_host, to_numbers

_COORDINATES = {
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
}  # fmt: skip


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
        self, x: Tensor, roi: HostValue | None = None, scales: HostValue | None = None, sizes: HostValue | None = None
    ) -> Tensor:
        given = [
            kept if kept is not None else [] if value is None else [float(n) for n in to_numbers(value)]
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
    return float(np.float32(value))


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
    return read_on_host(Resize(settings, node.get("axes"), policy, [_stored_floats(node, i) for i in (1, 2, 3)]), 1, 2, 3)


class Upsample(nn.Module):
    """Resize in its oldest form: by factors only, with asymmetric coordinates."""

    def __init__(self, mode: str, scales: list[float] | None) -> None:
        super().__init__()
        self.resize = Resize(ResizeSettings(mode), None, "stretch", ([], scales, []))

    def forward(self, x: Tensor, scales: HostValue | None = None) -> Tensor:
        result: Tensor = self.resize(x, None, scales)
        return result


@converter("Resize", 10)
@converter("Upsample", 9, 10)
def upsample(node: Node) -> TorchOperator:
    """Upsample, and the equivalent Resize of version 10, with factors as an input."""
    return read_on_host(Upsample(_read_mode(node), _stored_floats(node, 1)), 1)


@converter("Upsample", 7)
def upsample_by_attribute(node: Node) -> TorchOperator:
    """Upsample with factors as an attribute."""
    return Upsample(_read_mode(node), [float(n) for n in node.get("scales")])


@converter("Upsample", 1)
def upsample_plane(node: Node) -> TorchOperator:
    """Upsample of the first version, with a factor each for height and width."""
    return Upsample(_read_mode(node), [1.0, 1.0, float(node.get("height_scale")), float(node.get("width_scale"))])
