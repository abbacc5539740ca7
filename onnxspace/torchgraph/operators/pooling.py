"""Pooling over windows in one to three dimensions, with all modes of padding, ceil mode, dilation, and indices of maxima."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.windows import Window, pad_spatial, read_window
from onnxspace.torchgraph.registry import Apply, HostValue, Node, TorchOperator, converter, read_on_host, to_integers

_MAX: list[Callable[..., Any]] = [F.max_pool1d, F.max_pool2d, F.max_pool3d]
_AVERAGE: list[Callable[..., Any]] = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d]
_CONVOLUTION: list[Callable[..., Any]] = [F.conv1d, F.conv2d, F.conv3d]


def window_sums(x: Tensor, windows: Window) -> Tensor:
    """The sum of each window of `x` [images, channels, …], padded with zeros."""
    padded = pad_spatial(x, *windows.frame(x.shape[2:]))
    if max(windows.dilations) == 1:
        mean: Tensor = _AVERAGE[windows.rank - 1](padded, windows.kernel, windows.strides)
        return mean * math.prod(windows.kernel)
    ones = torch.ones((1, 1, *windows.kernel), dtype=x.dtype, device=x.device)
    planes = padded.reshape(-1, 1, *padded.shape[2:])
    sums: Tensor = _CONVOLUTION[windows.rank - 1](planes, ones, stride=windows.strides, dilation=windows.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def window_counts(x: Tensor, windows: Window, with_pads: bool) -> Tensor:
    """Number of elements of each window within the data, or within the data and its padding if `with_pads`."""
    sizes = x.shape[2:]
    counts = torch.ones((), dtype=x.dtype, device=x.device)
    for axis, (n, before, behind, count) in enumerate(zip(sizes, *windows.padding(sizes), windows.outputs(sizes), strict=True)):
        starts = torch.arange(count, device=x.device) * windows.strides[axis]
        places = starts[:, None] + torch.arange(windows.kernel[axis], device=x.device) * windows.dilations[axis]
        low, high = (0, before + n + behind) if with_pads else (before, before + n)
        along = ((places >= low) & (places < high)).sum(1).clamp(min=1)
        counts = counts[..., None] * along
    return counts


class AveragePool(nn.Module):
    """The mean of each window, with padding counted or not."""

    def __init__(self, windows: Window, with_pads: bool) -> None:
        super().__init__()
        self.windows, self.with_pads = windows, with_pads

    def forward(self, x: Tensor) -> Tensor:
        sums = window_sums(x, self.windows)
        if not self.windows.ceil and not any(map(any, self.windows.padding(x.shape[2:]))):
            return sums / math.prod(self.windows.kernel)
        return sums / window_counts(x, self.windows, self.with_pads)


@converter("AveragePool", 1, 7, 10, 11, 19, 22)
def average_pool(node: Node) -> TorchOperator:
    """AveragePool."""
    return AveragePool(read_window(node), bool(node.get("count_include_pad", 0)))


class LpPool(nn.Module):
    """The p-norm of each window; its gradient is zero where the norm is."""

    def __init__(self, windows: Window, p: float) -> None:
        super().__init__()
        self.windows, self.p = windows, p

    def forward(self, x: Tensor) -> Tensor:
        sums = window_sums(x.abs() ** self.p, self.windows)
        empty = sums <= 0
        return torch.where(empty, 1.0, sums).pow(1 / self.p).masked_fill(empty, 0.0)


@converter("LpPool", 1, 2, 11, 18, 22)
def lp_pool(node: Node) -> TorchOperator:
    """LpPool."""
    return LpPool(read_window(node), float(node.get("p", 2)))


@converter("GlobalLpPool", 1, 2, 22)
def global_lp_pool(node: Node) -> TorchOperator:
    """The p-norm over all spatial positions, whose axes are kept with size one."""
    p = float(node.get("p", 2))
    return Apply(lambda x: torch.linalg.vector_norm(x, p, dim=tuple(range(2, x.dim())), keepdim=True))


class MaxPool(nn.Module):
    """The maximum of each window and, if `places`, its index in the flattened input."""

    def __init__(self, windows: Window, places: bool, column_major: bool) -> None:
        super().__init__()
        self.windows, self.places, self.column_major = windows, places, column_major

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        data = x if x.is_floating_point() else x.float()
        before, behind = self.windows.frame(x.shape[2:])
        inner = before if self._can_pad_natively(before, behind) else [0] * len(before)
        padded = data if any(inner) else pad_spatial(data, before, behind, -math.inf)
        result = _MAX[self.windows.rank - 1](
            padded, self.windows.kernel, self.windows.strides, inner, self.windows.dilations, return_indices=self.places
        )
        if not self.places:
            return result.to(x.dtype)  # type: ignore[no-any-return]
        return result[0].to(x.dtype), self._flatten_places(result[1], x.shape, padded.shape[2:], before)

    def _can_pad_natively(self, before: list[int], behind: list[int]) -> bool:
        """Whether Torch can do the padding, which saves a copy."""
        fits = all(0 <= 2 * n <= k for n, k in zip(before, self.windows.kernel, strict=True))
        return before == behind and fits and not self.places and not self.windows.ceil

    def _flatten_places(self, places: Tensor, shape: Sequence[int], padded: Sequence[int], before: list[int]) -> Tensor:
        """Convert indices within a padded plane to indices within the whole input."""
        coordinates = torch.unravel_index(places, tuple(padded))
        moved = [c - b for c, b in zip(coordinates, before, strict=True)]
        sizes = list(shape[2:])
        flat = torch.zeros_like(places)
        for c, n in list(zip(moved, sizes, strict=True))[:: -1 if self.column_major else 1]:
            flat = flat * n + c
        planes = torch.arange(shape[0] * shape[1], device=places.device) * math.prod(sizes)
        return flat + planes.reshape(shape[0], shape[1], *[1] * len(sizes))


@converter("MaxPool", 1, 8, 10, 11, 12, 22)
def max_pool(node: Node) -> TorchOperator:
    """MaxPool, with the indices of the maxima as second output."""
    return MaxPool(read_window(node), node.outputs > 1, bool(node.get("storage_order", 0)))


class MaxUnpool(nn.Module):
    """Writes values to the indices that MaxPool returned, with zeros elsewhere."""

    def __init__(self, windows: Window) -> None:
        super().__init__()
        self.windows = windows

    def forward(self, x: Tensor, places: Tensor, shape: HostValue | None = None) -> Tensor:
        w, rank = self.windows, self.windows.rank
        ends = zip(x.shape[2:], w.strides, w.kernel, w.pads[:rank], w.pads[rank:], strict=True)
        sizes = [(n - 1) * s + k - before - behind for n, s, k, before, behind in ends]
        empty = x.new_zeros(x.shape[0] * x.shape[1] * math.prod(sizes))
        filled = empty.scatter(0, places.reshape(-1), x.reshape(-1)).reshape(*x.shape[:2], *sizes)
        if shape is None:
            return filled
        behind = [m - n for m, n in zip(to_integers(shape)[2:], sizes, strict=True)]
        return pad_spatial(filled, [0] * rank, behind)


@converter("MaxUnpool", 9, 11, 22)
def max_unpool(node: Node) -> TorchOperator:
    """MaxUnpool."""
    return read_on_host(MaxUnpool(read_window(node)), 2)


@converter("GlobalAveragePool", 1, 22)
def global_average_pool(_node: Node) -> TorchOperator:
    """Mean over all spatial positions, whose axes are kept with size one."""
    return Apply(lambda x: torch.mean(x, dim=tuple(range(2, x.dim())), keepdim=True))


@converter("GlobalMaxPool", 1, 22)
def global_max_pool(_node: Node) -> TorchOperator:
    """Maximum over all spatial positions, whose axes are kept with size one."""
    return Apply(lambda x: torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True))
