"""Images as one network takes them, converted to its input batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.inputs.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class Pictures:
    """`pixels`, uint8 [images, height, width, channels], as `Preprocess.pixels` makes them, on any device."""

    pixels: Tensor
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return int(min(self.pixels.shape[1:3]))

    def batch(self, rows: NDArray[np.intp]) -> Tensor:
        """The network's input for the images `rows`, float32."""
        return self._scale(self.pixels[self._place(rows)])

    def shifted(self, rows: NDArray[np.intp], most: int, generator: np.random.Generator) -> Tensor:
        """The same, with each image shifted by up to `most` pixels along both axes, and its border repeated."""
        if most == 0:
            return self.batch(rows)
        height, width = self.pixels.shape[1:3]
        moves = generator.integers(-most, most + 1, (2, len(rows), 1))
        lines = self._place(np.clip(np.arange(height) + moves[0], 0, height - 1))
        columns = self._place(np.clip(np.arange(width) + moves[1], 0, width - 1))
        return self._scale(self.pixels[self._place(rows)[:, None, None], lines[:, :, None], columns[:, None, :]])

    def _place(self, rows: NDArray[np.intp]) -> Tensor:
        return torch.from_numpy(rows).to(self.pixels.device)

    def _scale(self, pixels: Tensor) -> Tensor:
        facts = (self.preprocess.mean, self.preprocess.std)
        mean, std = (torch.tensor(values, dtype=torch.float32, device=pixels.device) for values in facts)
        scaled = (pixels.float() * self.preprocess.scale - mean) / std
        return scaled.permute(0, 3, 1, 2).contiguous() if self.preprocess.layout == "NCHW" else scaled
