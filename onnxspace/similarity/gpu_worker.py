"""Where images are compared on a GPU: maps are read and sent as float16, and multiplied there in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.similarity.tile_worker import Maps, TileWorker
from onnxspace.similarity.tiling import Tile, TilePlan


class GpuTileWorker(TileWorker):
    """As `Desk`, with the products on `device`: float64 sums do not depend on which one that is beyond 1e-12."""

    def __init__(self, plan: TilePlan, left: Maps, right: Maps | None, device: torch.device) -> None:
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


def tile_worker_for(device: torch.device) -> Callable[[TilePlan, Maps, Maps | None], TileWorker]:
    """What `affinity_matrix` takes: `Desk` for a CPU, else one on that device."""
    return TileWorker if device.type == "cpu" else lambda plan, left, right: GpuTileWorker(plan, left, right, device)
