"""Padding, cropping and rearrangement of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.registry import HostValue, Node, TorchOperator, converter, read_on_host, to_integers


def stored_ints(node: Node, index: int) -> list[int] | None:
    """Read the integers of a constant input; None where it is computed or omitted."""
    value = node.constant_of(node.proto.input[index]) if node.has(index) else None
    return None if value is None else [int(n) for n in value.reshape(-1)]


def resolve_integers(stored: list[int] | None, computed: HostValue | None) -> list[int] | None:
    """Return constant integers, or else those of a computed tensor; None where there are neither."""
    if stored is not None or computed is None:
        return stored
    return to_integers(computed)


def _crop(x: Tensor, before: Sequence[int], behind: Sequence[int]) -> Tensor:
    for axis, (b, e) in enumerate(zip(before, behind, strict=True)):
        if b < 0 or e < 0:
            start = max(0, -b)
            x = x.narrow(axis, start, x.shape[axis] - start - max(0, -e))
    return x


def _source_positions(places: Tensor, n: int, mode: str) -> Tensor:
    """Index of the element of 0 … n − 1 that is repeated at each position."""
    if mode == "edge" or n == 1:
        return places.clamp(0, n - 1)
    if mode == "wrap":
        return places % n
    turned = places % (2 * (n - 1))
    return torch.minimum(turned, 2 * (n - 1) - turned)


class Pad(nn.Module):
    """Padding before and after axes; negative padding crops first."""

    def __init__(self, mode: str, pads: list[int] | None, axes: list[int] | None, value: float | None) -> None:
        super().__init__()
        self.mode, self.pads, self.axes, self.value = mode, pads, axes, value

    def forward(
        self, x: Tensor, pads: HostValue | None = None, value: Tensor | None = None, axes: HostValue | None = None
    ) -> Tensor:
        amounts, chosen = resolve_integers(self.pads, pads) or [], resolve_integers(self.axes, axes)
        before, behind = [0] * x.dim(), [0] * x.dim()
        where = list(range(x.dim())) if chosen is None else chosen
        for i, axis in enumerate(where):
            before[axis], behind[axis] = amounts[i], amounts[len(where) + i]
        x = _crop(x, before, behind)
        before, behind = [max(0, n) for n in before], [max(0, n) for n in behind]
        return self._fill(x, before, behind, value) if self.mode == "constant" else self._repeat(x, before, behind)

    def _fill(self, x: Tensor, before: list[int], behind: list[int], value: Tensor | None) -> Tensor:
        pairs = [n for pair in zip(reversed(before), reversed(behind), strict=True) for n in pair]
        if not any(pairs):
            return x
        if self.value is not None:
            return F.pad(x, pairs, value=self.value)
        inside = F.pad(torch.ones_like(x, dtype=torch.bool), pairs, value=False)
        fill = torch.zeros_like(x[..., :0]).sum() if value is None else value.reshape(()).to(x.dtype)
        return torch.where(inside, F.pad(x, pairs), fill)

    def _repeat(self, x: Tensor, before: list[int], behind: list[int]) -> Tensor:
        for axis, (b, e) in enumerate(zip(before, behind, strict=True)):
            if b or e:
                n = x.shape[axis]
                x = x.index_select(axis, _source_positions(torch.arange(-b, n + e, device=x.device), n, self.mode))
        return x


def _read_mode(node: Node) -> str:
    mode = str(node.get("mode", "constant"))
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise NotImplementedError(f"mode {mode}")
    return mode


@converter("Pad", 1, 2)
def pad_by_attributes(node: Node) -> TorchOperator:
    """Pad with amounts and value as attributes."""
    return Pad(
        _read_mode(node), [int(n) for n in node.get("pads") or node.get("paddings")], None, float(node.get("value", 0.0))
    )


@converter("Pad", 11, 13, 18, 19, 21, 23, 24, 25)
def pad(node: Node) -> TorchOperator:
    """Pad with amounts, value and axes as inputs, constant or computed."""
    value: float | None = 0
    if node.has(2):
        stored = node.constant_of(node.proto.input[2])
        value = None if stored is None else stored.reshape(-1)[0].item() if stored.size else 0
    return read_on_host(Pad(_read_mode(node), stored_ints(node, 1), stored_ints(node, 3), value), 1, 3)


class CenterCropPad(nn.Module):
    """Crops axes, or pads them with zeros, around their centre."""

    def __init__(self, shape: list[int] | None, axes: list[int] | None) -> None:
        super().__init__()
        self.shape, self.axes = shape, axes

    def forward(self, x: Tensor, shape: HostValue | None = None) -> Tensor:
        wanted = resolve_integers(self.shape, shape) or []
        for axis, size in zip(self.axes or range(x.dim()), wanted, strict=True):
            n = x.shape[axis]
            if size <= n:
                x = x.narrow(axis, (n - size) // 2, size)
            else:
                pairs = [0, 0] * (x.dim() - 1 - axis % x.dim()) + [(size - n) // 2, size - n - (size - n) // 2]
                x = F.pad(x, pairs)
        return x


@converter("CenterCropPad", 18)
def center_crop_pad(node: Node) -> TorchOperator:
    """CenterCropPad."""
    return read_on_host(CenterCropPad(stored_ints(node, 1), node.get("axes")), 1)


class BlockRearrangement(nn.Module):
    """Moves square blocks of the plane to channels, or back; `depth_first` is the mode CRD."""

    def __init__(self, size: int, depth_first: bool, to_depth: bool) -> None:
        super().__init__()
        self.size, self.depth_first, self.to_depth = size, depth_first, to_depth

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        b = self.size
        if self.to_depth:
            split = x.reshape(n, c, h // b, b, w // b, b)
            order = (0, 1, 3, 5, 2, 4) if self.depth_first else (0, 3, 5, 1, 2, 4)
            return split.permute(order).reshape(n, c * b * b, h // b, w // b)
        if self.depth_first:
            moved = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            moved = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return moved.reshape(n, c // b**2, h * b, w * b)


@converter("SpaceToDepth", 1, 13, 28)
@converter("DepthToSpace", 1, 11, 13, 28)
def blocks(node: Node) -> TorchOperator:
    """SpaceToDepth and DepthToSpace in the modes DCR and CRD."""
    return BlockRearrangement(int(node.get("blocksize")), node.get("mode", "DCR") == "CRD", node.operator == "SpaceToDepth")
