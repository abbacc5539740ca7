"""How a network is fine-tuned: the numbers of a run. The defaults were chosen on the project's own zoo (docs/ranking.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """One run's settings.

    `epochs` passes over the images (over `images` of them, drawn anew for each pass, where that is not 0) in batches of `batch`, at the rate `rate` for the network's weights and `head_rate` for its
    new head (AdamW, with `decay`), after a linear warm-up over the share `warm` of all steps, falling along a cosine. Images are
    shifted by up to the share `shift` of their side.
    """

    epochs: int = 9
    images: int = 0
    batch: int = 32
    rate: float = 3e-3
    head_rate: float = 3e-3
    decay: float = 1e-4
    warm: float = 0.1
    shift: float = 0.06
    smoothing: float = 0.0
