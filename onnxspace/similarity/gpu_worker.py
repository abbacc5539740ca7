"""Comparison of images on a GPU: maps are read and transferred as float16, and multiplied there in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.similarity.tile_worker import MapFiles, TileWorker
from onnxspace.similarity.tiling import Tile, TilePlan


class GpuTileWorker(TileWorker):
    """A `TileWorker` that multiplies on `device`: its float64 sums agree with the CPU's to about 1e-12."""

    def __init__(self, plan: TilePlan, left: MapFiles, right: MapFiles | None, device: torch.device) -> None:
        super().__init__(plan, left, right)
        self._device = device

    def gram(self, tile: Tile, stretches: Iterator[NDArray[np.float16]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows, columns = tile.shape
        total = torch.zeros(tile.shape, dtype=torch.float64, device=self._device)
        squares = torch.zeros(tile.models, dtype=torch.float64, device=self._device)
        for half in stretches:
            wide = torch.from_numpy(np.ascontiguousarray(half)).to(self._device).double()
            total.addmm_(wide[:rows], wide[-columns:].T)
            squares += wide.square().sum(dim=1)
        return total.cpu().numpy(), squares.cpu().numpy()


def tile_worker_for(device: torch.device) -> Callable[[TilePlan, MapFiles, MapFiles | None], TileWorker]:
    """Return the worker factory that `affinity_matrix` takes: `TileWorker` for a CPU, else a `GpuTileWorker` on `device`."""
    return TileWorker if device.type == "cpu" else lambda plan, left, right: GpuTileWorker(plan, left, right, device)
