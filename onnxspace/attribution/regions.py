"""Regions of the probe image as cells of a tensor's grid."""

from __future__ import annotations

import base64

import numpy as np
import torch
from torch import Tensor

from onnxspace.errors import ConfigError
from onnxspace.inputs.targets import MASK_SIDE, Rectangle, Region

#: The part of a cell that must be covered.
_COVERED = 0.5


def find_cells(region: Region | None, path: str, resizing: tuple[Tensor, Tensor], grid: tuple[int, int]) -> Tensor:
    """Return which cells of a grid [rows, columns] lie in the region, bool; all where `region` is None, and at least one.

    `resizing` are the matrices [size, height] and [size, width] that resize maps of the network's input to the probe image, `path`
    names the model in errors. A cell counts where half of it is covered. Raises ConfigError for a region that the network does not see.
    """
    if region is None:
        return torch.ones(grid, dtype=torch.bool, device=resizing[0].device)
    covered = project_mask(_draw(region, len(resizing[0]), path).to(resizing[0]), resizing)
    share = torch.nn.functional.interpolate(covered[None, None], size=grid, mode="area")[0, 0]
    if float(share.max()) <= 0:
        raise ConfigError(f"{path} does not see the region {region.name}, which its crop cuts off. Give another region.")
    return share >= min(_COVERED, float(share.max()))


def project_mask(mask: Tensor, resizing: tuple[Tensor, Tensor]) -> Tensor:
    """Return the part of each pixel of the network's input [height, width] that a mask [size, size] of the probe image covers."""
    rows, columns = resizing
    total = rows.sum(dim=0)[:, None] * columns.sum(dim=0)[None]
    return rows.T @ mask @ columns / torch.where(total > 0, total, torch.ones_like(total))


def _draw(region: Region, side: int, path: str) -> Tensor:
    if region.rectangle is not None:
        return draw_rectangle(region.rectangle, side, path)
    bits = np.frombuffer(base64.b64decode(region.mask or ""), np.uint8)
    mask = np.unpackbits(bits, count=MASK_SIDE**2).reshape(MASK_SIDE, MASK_SIDE)
    places = np.arange(side) * MASK_SIDE // side
    return torch.from_numpy(mask[np.ix_(places, places)].astype(np.float32))


def draw_rectangle(rectangle: Rectangle, side: int, path: str) -> Tensor:
    """Return the part of each pixel [side, side] that the rectangle covers. Raises ConfigError where it lies outside."""
    left, top, width, height = rectangle
    if left >= side or top >= side or left + width > side + 0.5 or top + height > side + 0.5:
        numbers = ",".join(f"{n:g}" for n in rectangle)
        raise ConfigError(
            f"{path}: {numbers} is not inside the square of {side} × {side} pixels that images are cut to. Correct x,y,w,h."
        )
    return _cover(top, height, side)[:, None] * _cover(left, width, side)[None]


def _cover(start: float, length: float, side: int) -> Tensor:
    """The part of each of `side` pixels that an interval covers."""
    edges = torch.arange(side, dtype=torch.float32)
    return (torch.clamp(edges + 1, max=start + length) - torch.clamp(edges, min=start)).clamp(0, 1)
