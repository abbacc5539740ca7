"""Removing pixels of one image: curves of deletion and insertion, and the changes by which infidelity judges a map.

All pixels are those of the network's input. Replaced are all channels of a pixel at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.faithfulness.forward_pass import ForwardPass
from onnxspace.attribution.faithfulness.quantity import Outputs, Quantity, Reference
from onnxspace.evaluation.faithfulness.formulas import Numbers, infidelity, rank_pixels

#: Sides of the squares of infidelity, as shares of the image's side.
_LEAST_SIDE, _MOST_SIDE = 0.1, 0.5


@dataclass(frozen=True)
class ImageRemoval:
    """One image whose pixels are removed.

    `image` is the network's input [1, …], `channel_axis` its axis of channels; `reference` is what the network makes of it.
    """

    forward: ForwardPass
    quantity: Quantity
    image: Tensor
    channel_axis: int
    reference: Reference

    def follow(self, ranks: NDArray[np.int64], start: Tensor, end: Tensor, steps: int) -> Numbers:
        """Return the curve of each map, float64 [maps, steps + 1], from the image `start` to `end`.

        `ranks` [maps, height, width] are the ranks of the pixels: at step k the first k/steps of them are those of `end`. All maps
        share the passes, and the first and last point.
        """
        pixels = ranks[0].size
        counts = np.rint(np.arange(steps + 1) * pixels / steps).astype(np.int64)
        middle = counts[1:-1]
        placed, passed = (torch.from_numpy(numbers).to(start.device) for numbers in (ranks, middle))
        makes = partial(self._mix, placed, passed, start, end)
        keep = self._follow
        ends = self.forward.reduce(2, lambda some: torch.cat([(start, end)[k] for k in some]), keep).numpy()
        found = self.forward.reduce(len(ranks) * len(middle), makes, keep).numpy() if len(middle) else np.empty(0)
        first, last = (np.full((len(ranks), 1), point) for point in ends)
        return np.concatenate([first, found.reshape(len(ranks), len(middle)), last], axis=1)

    def _follow(self, outputs: Outputs) -> Tensor:
        return self.quantity.follow(outputs, self.reference)

    def _explain(self, outputs: Outputs) -> Tensor:
        return self.quantity.explain(outputs, self.reference)

    def _mix(self, ranks: Tensor, counts: Tensor, start: Tensor, end: Tensor, some: range) -> Tensor:
        places = torch.arange(some.start, some.stop, device=ranks.device)
        replaced = ranks[places // len(counts)] < counts[places % len(counts)][:, None, None]
        return self._replace(replaced, start, end)

    def _replace(self, replaced: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """The image `start` with the pixels `replaced`, bool [variants, height, width], from `end`."""
        return torch.where(replaced.unsqueeze(self.channel_axis), end, start)

    def measure_infidelity(self, maps: Numbers, baseline: Tensor, squares: NDArray[np.bool_]) -> Numbers:
        """Return the infidelity of `maps`, float64 [maps, height, width], for the removal of `squares`, [perturbations, height, width].

        A map is taken as the contributions of the pixels, so that a square should change the output by the map's sum over it.
        """
        masks = torch.from_numpy(squares).to(baseline.device)
        make = partial(self._remove, masks, baseline)
        before = self._explain(self.reference.outputs).cpu()
        after = self.forward.reduce(len(squares), make, self._explain)
        predicted = np.stack([maps[:, square].sum(axis=1) for square in squares], axis=1)
        return infidelity(predicted, (before - after).numpy())

    def _remove(self, masks: Tensor, baseline: Tensor, some: range) -> Tensor:
        return self._replace(masks[some.start : some.stop], self.image, baseline)


def draw_squares(count: int, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.bool_]:
    """Draw `count` squares, bool [count, height, width] for a `size` of (height, width), with sides of a tenth to a half of the image's, anywhere inside it."""
    side = min(size)
    sides = np.rint(side * random.uniform(_LEAST_SIDE, _MOST_SIDE, count)).astype(np.int64).clip(1, side)
    tops, lefts = (random.integers(0, length - sides + 1) for length in size)
    rows, columns = (
        (np.arange(length) >= starts[:, None]) & (np.arange(length) < (starts + sides)[:, None])
        for length, starts in zip(size, (tops, lefts), strict=True)
    )
    squares: NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
    return squares


def rank_maps(maps: Numbers, random: np.random.Generator, *, by_magnitude: bool) -> NDArray[np.int64]:
    """Return the ranks of the pixels of each map, [maps, height, width]: 0 is removed first."""
    return np.stack([rank_pixels(np.abs(one) if by_magnitude else one, random) for one in maps])
