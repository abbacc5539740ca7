"""Samples of noise for a batch of images: drawn on the host, where their numbers are the same for every device, and moved to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.noise import pixel_noise
from onnxspace.inputs.preprocess import Preprocess

#: The most bytes of samples that are moved to a device at once.
MOVED_BYTES = 2**28


@dataclass(frozen=True)
class NoiseSamples:
    """Seeded noise for the images of a batch, of which `seeds` has one each, on `device`.

    As many samples as fit in `MOVED_BYTES` are moved together, since a GPU is waited for at every copy from the host. On a CPU, where
    nothing is copied, there is one at a time.
    """

    preprocess: Preprocess
    seeds: Sequence[int]
    device: torch.device

    def __call__(self, samples: int, share: float) -> Iterator[Tensor]:
        """Yield so many samples, each [images, …], with a standard deviation of `share` of the pixel range."""
        step = 1 if self.device.type == "cpu" else max(1, MOVED_BYTES // self._count_bytes())
        for first in range(0, samples, step):
            drawn = [self._draw(number, share) for number in range(first, min(first + step, samples))]
            yield from torch.from_numpy(drawn[0][None] if step == 1 else np.stack(drawn)).to(self.device)

    def _draw(self, number: int, share: float) -> NDArray[np.float32]:
        return pixel_noise(self.preprocess, self.seeds, number, share)

    def _count_bytes(self) -> int:
        """Bytes of one sample for all images."""
        shape = self.preprocess
        return 4 * max(1, len(self.seeds)) * shape.height * shape.width * shape.channels
