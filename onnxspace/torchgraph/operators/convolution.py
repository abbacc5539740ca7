"""Convolutions whose weights may be computed: plain, transposed, deformable, causal; and Col2Im."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.operators.pooling import Window, pad_spatial, window
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_FORWARD: list[Callable[..., Any]] = [F.conv1d, F.conv2d, F.conv3d]
_TRANSPOSED: list[Callable[..., Any]] = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]


def _windows(node: Node, weight: Tensor) -> Window:
    return window(node, tuple(weight.shape[2:]))


class Conv(nn.Module):
    """Convolution with the weights and the bias that it is called with."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.groups = node, int(node.get("group", 1))

    def windows(self, weight: Tensor) -> Window:
        """Where the windows lie: steps, padding, dilation."""
        return _windows(self.node, weight)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = self.windows(weight)
        before, behind = ([max(0, n) for n in side] for side in windows.padding(x.shape[2:]))
        inner = before if before == behind else [0] * windows.rank
        padded = x if before == behind else pad_spatial(x, before, behind)
        made: Tensor = _FORWARD[windows.rank - 1](padded, weight, bias, windows.strides, inner, windows.dilations, self.groups)
        return made


@converter("Conv", 1, 11, 22)
def conv(node: Node) -> TorchOperator:
    """Conv."""
    return Conv(node)


class ConvTranspose(nn.Module):
    """The transpose of a convolution, cut or extended with zeros to its output's size."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.groups = node, int(node.get("group", 1))
        self.shape: list[int] | None = node.get("output_shape")
        self.extra: list[int] | None = node.get("output_padding")

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = _windows(self.node, weight)
        full: Tensor = _TRANSPOSED[windows.rank - 1](
            x, weight, stride=windows.strides, groups=self.groups, dilation=windows.dilations
        )
        before, behind = self._cut(windows, x.shape[2:], full.shape[2:])
        cut = pad_spatial(full, [-n for n in before], [-n for n in behind])
        return cut if bias is None else cut + bias.reshape(-1, *[1] * windows.rank)

    def _cut(self, windows: Window, sizes: Sequence[int], full: Sequence[int]) -> tuple[list[int], list[int]]:
        """How much goes before and behind each axis; negative where zeros are added."""
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
    """Convolution of an image that is sampled, for each tap and position, beside its place by an offset, bilinearly."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.groups, self.parts = node, int(node.get("group", 1)), int(node.get("offset_group", 1))

    def forward(
        self, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        windows, (n, channels) = _windows(self.node, weight), x.shape[:2]
        height, width = offset.shape[2:]
        taps = math.prod(windows.kernel)
        moves = offset.reshape(n * self.parts, taps, 2, height, width)
        sampled = self._sample(x.reshape(n * self.parts, -1, *x.shape[2:]), moves, windows)
        if mask is not None:
            sampled = sampled * mask.reshape(n * self.parts, 1, taps, height, width)
        columns = sampled.reshape(n, self.groups, channels // self.groups * taps, height * width)
        kernels = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        made = (kernels @ columns).reshape(n, -1, height, width)
        return made if bias is None else made + bias.reshape(-1, 1, 1)

    @staticmethod
    def _sample(x: Tensor, moves: Tensor, windows: Window) -> Tensor:
        """`x` at every tap of every window, with zeros around it."""
        places = []
        for axis in (0, 1):
            starts = torch.arange(moves.shape[3 + axis], device=x.device) * windows.strides[axis] - windows.pads[axis]
            steps = torch.arange(windows.kernel[axis], device=x.device) * windows.dilations[axis]
            tap = steps.repeat_interleave(windows.kernel[1]) if axis == 0 else steps.repeat(windows.kernel[0])
            regular = tap[:, None, None] + (starts[:, None] if axis == 0 else starts)
            places.append((2 * (moves[:, :, axis] + regular) + 1) / x.shape[2 + axis] - 1)
        grid = torch.stack(places[::-1], -1).flatten(1, 2)
        made = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return made.reshape(*made.shape[:2], moves.shape[1], *moves.shape[3:])


@converter("DeformConv", 19, 22)
def deform_conv(node: Node) -> TorchOperator:
    """DeformConv in two dimensions."""
    if len(node.get("kernel_shape") or node.get("pads") or (1, 1)) not in (2, 4):
        raise NotImplementedError("not in two dimensions")
    return DeformConv(node)


class CausalConv(nn.Module):
    """Depthwise convolution that looks back only, and the positions that its next call has to see."""

    def __init__(self, swish: bool) -> None:
        super().__init__()
        self.swish = swish

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        back = weight.shape[2] - 1
        seen = F.pad(x, (back, 0)) if past is None else torch.cat([past, x], 2)
        made = F.conv1d(seen, weight, bias, groups=x.shape[1])
        return F.silu(made) if self.swish else made, seen[:, :, seen.shape[2] - back :]


@converter("CausalConvWithState", 27)
def causal_conv(node: Node) -> TorchOperator:
    """CausalConvWithState."""
    activation = node.get("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise NotImplementedError(f"activation {activation}")
    return CausalConv(activation != "none")


class Col2Im(nn.Module):
    """Blocks summed up into the image that they are windows of."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node

    def forward(self, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
        sizes, kernel = [int(n) for n in image.tolist()], tuple(int(n) for n in block.tolist())
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
        """Where in the flattened padded plane each tap of each block belongs."""
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
    return Col2Im(node)
