"""Sampling of images at computed positions: GridSample, AffineGrid, RoiAlign and MaxRoiPool."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.spatial import resolve_integers, stored_ints
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


class GridSample(nn.Module):
    """Samples an image or a volume at the positions of a grid."""

    def __init__(self, mode: str, padding: str, aligned: bool) -> None:
        super().__init__()
        self.mode, self.padding, self.aligned = mode, padding, aligned

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(x, grid, self.mode, self.padding, self.aligned)


@converter("GridSample", 16, 20, 22)
def grid_sample(node: Node) -> TorchOperator:
    """GridSample."""
    mode = _MODES[node.get("mode", "linear")]
    return GridSample(mode, node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0)))


class AffineGrid(nn.Module):
    """The image of a regular grid under an affine map."""

    def __init__(self, size: list[int] | None, aligned: bool) -> None:
        super().__init__()
        self.size, self.aligned = size, aligned

    def forward(self, theta: Tensor, size: Tensor | None = None) -> Tensor:
        sizes = resolve_integers(self.size, size) or []
        return F.affine_grid(theta, [theta.shape[0], *sizes[1:]], self.aligned)


@converter("AffineGrid", 20)
def affine_grid(node: Node) -> TorchOperator:
    """AffineGrid."""
    return AffineGrid(stored_ints(node, 1), bool(node.get("align_corners", 0)))


class RoiAlign(nn.Module):
    """Regions pooled to a fixed size: the mean or the maximum of bilinear samples in each bin."""

    def __init__(self, node: Node, shift: float) -> None:
        super().__init__()
        self.sizes = int(node.get("output_height", 1)), int(node.get("output_width", 1))
        self.ratio, self.scale = int(node.get("sampling_ratio", 0)), float(node.get("spatial_scale", 1.0))
        self.largest, self.shift = node.get("mode", "avg") == "max", shift

    def forward(self, x: Tensor, rois: Tensor, images: Tensor) -> Tensor:
        result = [self._pool_region(x[int(i)], roi) for i, roi in zip(images.tolist(), rois, strict=True)]
        return torch.stack(result) if result else x.new_zeros(0, x.shape[1], *self.sizes)

    def _pool_region(self, x: Tensor, roi: Tensor) -> Tensor:
        left, top, right, bottom = (roi * self.scale - self.shift).unbind()
        rows, above, high = self._samples(top, bottom - top, self.sizes[0], x.shape[1])
        columns, beside, wide = self._samples(left, right - left, self.sizes[1], x.shape[2])
        parts = x.index_select(1, rows) * above[:, None]
        parts = parts.index_select(2, columns) * beside
        bins = parts.reshape(x.shape[0], self.sizes[0], 2 * high, self.sizes[1], 2 * wide)
        return bins.amax((2, 4)) if self.largest else bins.sum((2, 4)) / (high * wide)

    def _samples(self, start: Tensor, length: Tensor, count: int, n: int) -> tuple[Tensor, Tensor, int]:
        """Indices and weights of the two neighbours of every sample along an axis, and the number of samples per bin."""
        if self.shift == 0:
            length = length.clamp(min=1.0)
        size = length / count
        each = self.ratio if self.ratio > 0 else max(1, math.ceil(float(size.detach())))
        steps = (torch.arange(count * each, device=start.device) + 0.5) / each
        exact = start + steps * size
        inside = ((exact >= -1) & (exact <= n)).to(exact.dtype)
        place = exact.clamp(0, n - 1)
        lower = place.detach().floor().clamp(max=n - 1)
        share = place - lower
        pair = torch.stack([lower, (lower + 1).clamp(max=n - 1)], 1).long().reshape(-1)
        return pair, torch.stack([(1 - share) * inside, share * inside], 1).reshape(-1), each


@converter("RoiAlign", 10)
def roi_align(node: Node) -> TorchOperator:
    """RoiAlign without the shift by half a pixel."""
    return RoiAlign(node, 0.0)


@converter("RoiAlign", 16, 22)
def roi_align_shifted(node: Node) -> TorchOperator:
    """RoiAlign with or without the shift by half a pixel."""
    return RoiAlign(node, 0.5 if node.get("coordinate_transformation_mode", "half_pixel") == "half_pixel" else 0.0)


class MaxRoiPool(nn.Module):
    """The maximum of each bin of a region, whose corners are rounded to whole pixels; zero in empty bins."""

    def __init__(self, shape: tuple[int, int], scale: float) -> None:
        super().__init__()
        self.shape, self.scale = shape, scale

    def forward(self, x: Tensor, rois: Tensor) -> Tensor:
        result = [self._pool_region(x[int(roi[0])], roi[1:]) for roi in rois.tolist()]
        return torch.stack(result) if result else x.new_zeros(0, x.shape[1], *self.shape)

    def _pool_region(self, x: Tensor, corners: list[float]) -> Tensor:
        left, top, right, bottom = (math.floor(abs(c * self.scale) + 0.5) * (1 if c > 0 else -1) for c in corners)
        rows = self._pool_bins(x, 1, top, bottom, self.shape[0])
        return self._pool_bins(rows, 2, left, right, self.shape[1])

    @staticmethod
    def _pool_bins(x: Tensor, axis: int, first: int, last: int, count: int) -> Tensor:
        n, size = x.shape[axis], max(last - first + 1, 1) / count
        bins = []
        for i in range(count):
            low = min(max(math.floor(i * size) + first, 0), n)
            high = min(max(math.ceil((i + 1) * size) + first, 0), n)
            part = x.narrow(axis, low, max(high - low, 0))
            bins.append(part.amax(axis) if high > low else torch.zeros_like(x.select(axis, 0)))
        return torch.stack(bins, axis)


@converter("MaxRoiPool", 1, 22)
def max_roi_pool(node: Node) -> TorchOperator:
    """MaxRoiPool."""
    high, wide = node.get("pooled_shape")
    return MaxRoiPool((int(high), int(wide)), float(node.get("spatial_scale", 1.0)))
