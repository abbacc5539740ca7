"""Images of noise to explain models on."""

from __future__ import annotations

import numpy as np

from onnxspace.inputs.probes import Probes


def probes(count: int = 3, size: int = 16, seed: int = 0) -> Probes:
    images = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Probes("test", images)
