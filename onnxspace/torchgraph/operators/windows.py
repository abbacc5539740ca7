"""Windows of pooling and convolution: their sizes, padding and numbers in one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from onnxspace.torchgraph.registry import Node


@dataclass(frozen=True)
class Window:
    """The windows of a node, with one entry per spatial axis; `pads` is the attribute, beginnings first."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str = "NOTSET"
    ceil: bool = False

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def reach(self) -> tuple[int, ...]:
        """Extent of a window along each axis, including the gaps of the dilation."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def padding(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Padding before and after each axis; negative where strides longer than windows leave out borders."""
        if self.auto_pad.startswith("SAME"):
            ends = zip(sizes, self.strides, self.reach, strict=True)
            total = [(-(-n // s) - 1) * s + r - n for n, s, r in ends]
            before = [int((t if self.auto_pad == "SAME_UPPER" else t + 1) / 2) for t in total]
            return before, [t - b for t, b in zip(total, before, strict=True)]
        if self.auto_pad == "VALID":
            return [0] * self.rank, [0] * self.rank
        return list(self.pads[: self.rank]), list(self.pads[self.rank :])

    def outputs(self, sizes: Sequence[int]) -> list[int]:
        """Number of windows along each axis; one that would start after the data and its leading padding is left out."""
        found = []
        for n, before, behind, s, r in zip(sizes, *self.padding(sizes), self.strides, self.reach, strict=True):
            count = (n + before + behind - r) // s + 1
            if self.ceil:
                count = -(-(n + before + behind - r) // s) + 1
                count -= (count - 1) * s >= n + before
            found.append(count)
        return found

    def frame(self, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Padding before and after each axis that gives the same windows without ceil mode."""
        before, behind = self.padding(sizes)
        if self.ceil:
            ends = zip(self.outputs(sizes), self.strides, self.reach, sizes, before, strict=True)
            behind = [(count - 1) * s + r - n - b for count, s, r, n, b in ends]
        return before, behind


def read_window(node: Node, kernel: Sequence[int] | None = None) -> Window:
    """Read the windows of a pooling node, or of a convolution whose weights have the spatial size `kernel`.

    Raises NotImplementedError for negative padding, and for other than one to three dimensions.
    """
    size = tuple(node.get("kernel_shape") or kernel or ())
    if not 1 <= len(size) <= 3:
        raise NotImplementedError(f"windows in {len(size)} dimensions")
    ones = (1,) * len(size)
    pads = tuple(node.get("pads") or (0,) * 2 * len(size))
    strides, dilations = tuple(node.get("strides") or ones), tuple(node.get("dilations") or ones)
    if min(pads) < 0:
        raise NotImplementedError("negative pads")
    return Window(size, strides, dilations, pads, node.get("auto_pad", "NOTSET"), bool(node.get("ceil_mode", 0)))


def pad_spatial(x: Tensor, before: Sequence[int], behind: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad the last axes with `value`, by `before` and `behind` elements; negative padding crops."""
    if not any(before) and not any(behind):
        return x
    pairs = [n for pair in zip(reversed(before), reversed(behind), strict=True) for n in pair]
    return F.pad(x, pairs, value=value)
