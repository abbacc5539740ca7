"""Convolutions whose weights may be computed: plain, transposed, deformable and causal; and Col2Im."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.windows import Window, pad_spatial, read_window
from onnxspace.torchgraph.registry import HostValue, Node, TorchOperator, converter, read_on_host, to_integers

_FORWARD: list[Callable[..., Any]] = [F.conv1d, F.conv2d, F.conv3d]
_TRANSPOSED: list[Callable[..., Any]] = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]


def _windows_of(node: Node, weight: Tensor) -> Window:
    return read_window(node, tuple(weight.shape[2:]))


class Conv(nn.Module):
    """Convolution with weights and bias as inputs."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.groups = node.without_lookups(), int(node.get("group", 1))

    def windows(self, weight: Tensor) -> Window:
        """The windows for these weights: size, strides, padding, dilation."""
        return _windows_of(self.node, weight)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = self.windows(weight)
        before, behind = ([max(0, n) for n in side] for side in windows.padding(x.shape[2:]))
        inner = before if before == behind else [0] * windows.rank
        padded = x if before == behind else pad_spatial(x, before, behind)
        result: Tensor = _FORWARD[windows.rank - 1](
            padded, weight, bias, windows.strides, inner, windows.dilations, self.groups
        )
        return result


@converter("Conv", 1, 11, 22)
def conv(node: Node) -> TorchOperator:
    """Conv."""
    return Conv(node)


class ConvTranspose(nn.Module):
    """Transposed convolution, cropped or extended with zeros to its output's size."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.groups = node.without_lookups(), int(node.get("group", 1))
        self.shape: list[int] | None = node.get("output_shape")
        self.extra: list[int] | None = node.get("output_padding")

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = _windows_of(self.node, weight)
        full: Tensor = _TRANSPOSED[windows.rank - 1](
            x, weight, stride=windows.strides, groups=self.groups, dilation=windows.dilations
        )
        before, behind = self._crop_amounts(windows, x.shape[2:], full.shape[2:])
        cut = pad_spatial(full, [-n for n in before], [-n for n in behind])
        return cut if bias is None else cut + bias.reshape(-1, *[1] * windows.rank)

    def _crop_amounts(self, windows: Window, sizes: Sequence[int], full: Sequence[int]) -> tuple[list[int], list[int]]:
        """Numbers of elements that are cropped before and after each axis; negative where zeros are added."""
        extra = self.extra or [0] * windows.rank
        if self.shape:
            wanted = self.shape[-windows.rank :]
        elif windows.auto_pad.startswith("SAME"):
            wanted = [n * s for n, s in zip(sizes, windows.strides, strict=True)]
        else:
            before, behind = windows.padding(sizes)
            return before, [n - e for n, e in zip(behind, extra, strict=True)]
        total = [f + e - m for f, e, m in zip(full, extra, wanted, strict=True)]
        upper = windows.auto_pad == "SAME_UPPER"
        before = [max(0, t) // 2 if upper else max(0, t) - max(0, t) // 2 for t in total]
        return before, [f - b - m for f, b, m in zip(full, before, wanted, strict=True)]


@converter("ConvTranspose", 1, 11, 22)
def conv_transpose(node: Node) -> TorchOperator:
    """ConvTranspose."""
    return ConvTranspose(node)


class DeformConv(nn.Module):
    """Deformable convolution: for each tap and position the image is sampled bilinearly, shifted by an offset."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.groups, self.parts = node.without_lookups(), int(node.get("group", 1)), int(node.get("offset_group", 1))

    def forward(
        self, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        windows, (n, channels) = _windows_of(self.node, weight), x.shape[:2]
        height, width = offset.shape[2:]
        taps = math.prod(windows.kernel)
        moves = offset.reshape(n * self.parts, taps, 2, height, width)
        sampled = self._sample(x.reshape(n * self.parts, -1, *x.shape[2:]), moves, windows)
        if mask is not None:
            sampled = sampled * mask.reshape(n * self.parts, 1, taps, height, width)
        columns = sampled.reshape(n, self.groups, channels // self.groups * taps, height * width)
        kernels = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        result = (kernels @ columns).reshape(n, -1, height, width)
        return result if bias is None else result + bias.reshape(-1, 1, 1)

    @staticmethod
    def _sample(x: Tensor, moves: Tensor, windows: Window) -> Tensor:
        """Sample `x`, padded with zeros, at every tap of every window."""
        places = []
        for axis in (0, 1):
            starts = torch.arange(moves.shape[3 + axis], device=x.device) * windows.strides[axis] - windows.pads[axis]
            steps = torch.arange(windows.kernel[axis], device=x.device) * windows.dilations[axis]
            tap = steps.repeat_interleave(windows.kernel[1]) if axis == 0 else steps.repeat(windows.kernel[0])
            regular = tap[:, None, None] + (starts[:, None] if axis == 0 else starts)
            places.append((2 * (moves[:, :, axis] + regular) + 1) / x.shape[2 + axis] - 1)
        grid = torch.stack(places[::-1], -1).flatten(1, 2)
        result = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return result.reshape(*result.shape[:2], moves.shape[1], *moves.shape[3:])


@converter("DeformConv", 19, 22)
def deform_conv(node: Node) -> TorchOperator:
    """DeformConv in two dimensions."""
    if len(node.get("kernel_shape") or node.get("pads") or (1, 1)) not in (2, 4):
        raise NotImplementedError("DeformConv in other than two dimensions")
    return DeformConv(node)


class CausalConv(nn.Module):
    """Causal depthwise convolution; also returns the last positions, which are the state for the next call."""

    def __init__(self, swish: bool) -> None:
        super().__init__()
        self.swish = swish

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        back = weight.shape[2] - 1
        seen = F.pad(x, (back, 0)) if past is None else torch.cat([past, x], 2)
        result = F.conv1d(seen, weight, bias, groups=x.shape[1])
        return F.silu(result) if self.swish else result, seen[:, :, seen.shape[2] - back :]


@converter("CausalConvWithState", 27)
def causal_conv(node: Node) -> TorchOperator:
    """CausalConvWithState."""
    activation = node.get("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise NotImplementedError(f"activation {activation}")
    return CausalConv(activation != "none")


class Col2Im(nn.Module):
    """Sums blocks into the image whose windows they are."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node.without_lookups()

    def forward(self, x: Tensor, image: HostValue, block: HostValue) -> Tensor:
        sizes, kernel = to_integers(image), tuple(to_integers(block))
        ones = (1,) * len(kernel)
        strides, dilations = self.node.get("strides") or ones, self.node.get("dilations") or ones
        pads = self.node.get("pads") or (0,) * 2 * len(kernel)
        windows = Window(kernel, tuple(strides), tuple(dilations), tuple(pads))
        before, behind = windows.padding(sizes)
        padded = [n + b + e for n, b, e in zip(sizes, before, behind, strict=True)]
        places = self._places(windows, padded, windows.outputs(sizes)).to(x.device)
        columns = x.reshape(x.shape[0], -1, places.numel())
        plane = x.new_zeros(*columns.shape[:2], math.prod(padded)).index_add(2, places, columns)
        return pad_spatial(plane.reshape(*plane.shape[:2], *padded), [-n for n in before], [-n for n in behind])

    @staticmethod
    def _places(windows: Window, padded: list[int], counts: list[int]) -> Tensor:
        """Index in the flattened padded plane of each tap of each block."""
        rank = windows.rank
        places = torch.zeros([1] * 2 * rank, dtype=torch.int64)
        for axis in range(rank):
            taps = torch.arange(windows.kernel[axis]) * windows.dilations[axis]
            starts = torch.arange(counts[axis]) * windows.strides[axis]
            shape = [1] * 2 * rank
            shape[axis], shape[rank + axis] = len(taps), len(starts)
            places = places * padded[axis] + (taps[:, None] + starts).reshape(shape)
        return places.reshape(-1)


@converter("Col2Im", 18)
def col2im(node: Node) -> TorchOperator:
    """Col2Im."""
    return read_on_host(Col2Im(node), 1, 2)
