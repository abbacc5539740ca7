"""How a network is fine-tuned: the numbers of a run. The defaults were chosen on the project's own zoo (docs/ranking.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass

_SMALL = 50_000  # weights of the networks for which the rates were chosen, at most


@dataclass(frozen=True)
class Schedule:
    """One run's settings.

    `epochs` passes over the images (over `images` of them, drawn anew for each pass, where that is not 0) in batches of `batch`, at the rate `rate` for the network's weights and `head_rate` for its
    new head (AdamW, with `decay`), both times `scale_rate`, after a linear warm-up over the share `warm` of all steps, falling along a cosine. Images are
    shifted by up to the share `shift` of their side.
    """

    epochs: int = 9
    images: int = 0
    batch: int = 32
    rate: float = 5e-3
    head_rate: float = 5e-3
    decay: float = 1e-4
    warm: float = 0.1
    shift: float = 0.06

    def scale_rate(self, weights: int) -> float:
        """The factor of both rates for a network of so many weights: 1 for small ones, then falling with the root of their number.

        Updates of Adam are of one size per weight, so the change of a layer's output grows with its width, about the root of the
        number of weights (Yang et al., NeurIPS 2021).
        """
        return min(1.0, math.sqrt(_SMALL / max(1, weights)))
