"""Operators on shapes: reshaping, joining, splitting and slicing tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, HostValue, Node, TorchOperator, converter, read_on_host, to_integers

_WIDE = (19, 21, 23, 24, 25)  # versions that only added element types


class Reshape(nn.Module):
    """Reshape at run time: −1 is inferred, 0 copies the size of the same axis unless `allowzero`."""

    def __init__(self, shape: list[int] | None, allowzero: bool) -> None:
        super().__init__()
        self.shape, self.allowzero = shape, allowzero

    def forward(self, x: Tensor, shape: HostValue | None = None) -> Tensor:
        target = to_integers(shape) if shape is not None else list(self.shape or [])
        if not self.allowzero:
            target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
        return x.reshape(target)


@converter("Reshape", 1, 5, 13, 14, *_WIDE)
def reshape(node: Node) -> TorchOperator:
    """Reshape, to a constant or a computed shape."""
    return read_on_host(Reshape(node.get("shape"), bool(node.get("allowzero", 0))), 1)


@converter("Flatten", 1, 9, 11, 13, 21, 23, 24, 25)
def flatten(node: Node) -> TorchOperator:
    """Flatten to two axes."""
    axis = node.get("axis", 1)

    def flat(x: Tensor) -> Tensor:
        at = axis + x.dim() if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))

    return Apply(flat)


@converter("Transpose", 1, 13, 21, 23, 24, 25)
def transpose(node: Node) -> TorchOperator:
    """Transpose; without `perm`, it reverses the axes."""
    perm = node.get("perm")
    return Apply(lambda x: x.permute(perm if perm is not None else tuple(reversed(range(x.dim())))))


class Squeeze(nn.Module):
    """Removes the given axes of size one; all such axes where none are given."""

    def __init__(self, axes: list[int] | None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor, axes: HostValue | None = None) -> Tensor:
        chosen = to_integers(axes) if axes is not None else self.axes
        if chosen is None:
            return x.squeeze()
        if any(x.shape[axis] != 1 for axis in chosen):
            raise ValueError(f"axes {chosen} of {tuple(x.shape)} are not all of size one")
        return x.squeeze(tuple(chosen)) if chosen else x


class Unsqueeze(nn.Module):
    """Inserts axes of size one, numbered as in the result."""

    def __init__(self, axes: list[int] | None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor, axes: HostValue | None = None) -> Tensor:
        chosen = to_integers(axes) if axes is not None else self.axes or []
        rank = x.dim() + len(chosen)
        for axis in sorted(axis % rank for axis in chosen):
            x = x.unsqueeze(axis)
        return x


_SQUEEZES: dict[str, type[Squeeze | Unsqueeze]] = {"Squeeze": Squeeze, "Unsqueeze": Unsqueeze}


@converter("Squeeze", 1, 11, 13, 21, 23, 24, 25)
@converter("Unsqueeze", 1, 11, 13, 21, 23, 24, 25)
def squeeze(node: Node) -> TorchOperator:
    """Squeeze and Unsqueeze, with axes as an attribute or an input."""
    return read_on_host(_SQUEEZES[node.operator](node.get("axes")), 1)


@converter("Concat", 1, 4, 11, 13)
def concat(node: Node) -> TorchOperator:
    """Concat."""
    axis = node.get("axis", 1)
    return Apply(lambda *tensors: torch.cat(tensors, axis))


class Split(nn.Module):
    """Splits into parts of the given sizes, or into `count` equal ones, of which the last may be smaller."""

    def __init__(self, count: int, axis: int, sizes: list[int] | None, wanted: int) -> None:
        super().__init__()
        self.count, self.axis, self.sizes, self.wanted = count, axis, sizes, wanted

    def forward(self, x: Tensor, sizes: HostValue | None = None) -> Any:
        parts = torch.split(x, to_integers(sizes) if sizes is not None else self.sizes or self._equal_sizes(x), self.axis)
        return parts[0] if self.wanted == 1 else tuple(parts[: self.wanted])

    def _equal_sizes(self, x: Tensor) -> list[int]:
        whole = x.shape[self.axis]
        part = -(-whole // self.count)
        return [part] * (self.count - 1) + [whole - part * (self.count - 1)]


@converter("Split", 1, 2, 11, 13, 18)
def split(node: Node) -> TorchOperator:
    """Split, with sizes as an attribute or an input, or into equal parts."""
    return read_on_host(Split(node.get("num_outputs", node.outputs), node.get("axis", 0), node.get("split"), node.outputs), 1)


def _broadcast(first: tuple[int, ...], second: list[int]) -> list[int]:
    """The shape that two shapes broadcast to."""
    rank = max(len(first), len(second))
    pairs = zip([1] * (rank - len(first)) + list(first), [1] * (rank - len(second)) + second, strict=True)
    return [b if a == 1 else a for a, b in pairs]


@converter("Expand", 8, 13)
def expand(_node: Node) -> TorchOperator:
    """Expand: broadcasting in both directions."""
    return read_on_host(Apply(lambda x, shape: x.expand(_broadcast(tuple(x.shape), to_integers(shape)))), 1)


@converter("Tile", 1)
def tile_axis(_node: Node) -> TorchOperator:
    """Tile of the first version, along one axis."""

    def tile(x: Tensor, tiles: HostValue, axis: HostValue) -> Tensor:
        repeats = [1] * x.dim()
        repeats[to_integers(axis)[0]] = to_integers(tiles)[0]
        return x.repeat(repeats)

    return read_on_host(Apply(tile), 1, 2)


@converter("Tile", 6, 13)
def tile(_node: Node) -> TorchOperator:
    """Tile."""
    return read_on_host(Apply(lambda x, repeats: x.repeat(to_integers(repeats))), 1)


def _slice_axis(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """Slice one axis; with a negative step, the start is clamped to the tensor and the end may lie before it."""
    size = x.shape[axis]
    start, end = start + size if start < 0 else start, end + size if end < 0 else end
    if step >= 0:
        start, end = min(max(start, 0), size), min(max(end, 0), size)
        window = x.narrow(axis, start, max(end - start, 0))
        every = (slice(None),) * (axis % x.dim()) + (slice(None, None, step),)
        return window if step == 1 or window.shape[axis] == 0 else window[every]
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    chosen = torch.tensor(list(range(start, end, step)), dtype=torch.int64, device=x.device)
    return x.index_select(axis, chosen)


class Slice(nn.Module):
    """Slices whose bounds are attributes (first version) or inputs."""

    def __init__(self, starts: list[int], ends: list[int], axes: list[int] | None) -> None:
        super().__init__()
        self.starts, self.ends, self.axes = starts, ends, axes

    def forward(
        self,
        x: Tensor,
        starts: HostValue | None = None,
        ends: HostValue | None = None,
        axes: HostValue | None = None,
        steps: HostValue | None = None,
    ) -> Tensor:
        first = to_integers(starts) if starts is not None else self.starts
        last = to_integers(ends) if ends is not None else self.ends
        chosen = to_integers(axes) if axes is not None else self.axes or list(range(len(first)))
        strides = to_integers(steps) if steps is not None else [1] * len(first)
        for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
            x = _slice_axis(x, axis, start, end, step)
        return x


@converter("Slice", 1, 10, 11, 13)
def slice_(node: Node) -> TorchOperator:
    """Slice of every version."""
    return read_on_host(Slice(node.get("starts", []), node.get("ends", []), node.get("axes")), 1, 2, 3, 4)


@converter("Identity", 1, 13, 14, 16, *_WIDE)
def identity(_node: Node) -> TorchOperator:
    """Identity, of a tensor, a sequence or an optional value."""
    return nn.Identity()
