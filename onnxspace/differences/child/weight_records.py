"""What is said of a layer's weights, and how far two sets of them are apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WeightChange:
    """What became of the weights of a layer.

    `kind` is `equal`, `permuted`, `permuted_trained`, `transposed`, `scaled`, `shifted`, `requantised`, `pruned`, `clustered`, `adapted` (a matrix of low rank was
    added), `trained`, `replaced`, `resized`, `swapped` (with another layer), `factorised`, `edited` (few weights are others), `regrouped` (in another number of layers), `clipped` (to a range),
    `exchanged` (two parameters of a normalisation), `statistics` (only those of a normalisation differ), `neutral` (a normalisation's scale is 1 and its shift 0 now), `bias` (only the bias differs), `folded` or
    `folded_wrongly` (a batch normalisation is in the new weights; `cause` says what went wrong), `unfolded` or `unread`.

    `difference` is |new − old| / |old|, `remaining` the same once the order is undone; `rounding` the part of it that rounding to the
    new type explains; `pruned` the share of weights that are newly 0; `factor` and `shift` the smallest and largest one of channels;
    `levels` the number of different values, `rank` that of what was added or of the factors; `axis` says what is permuted: `output`,
    `input` or `both`; `moved` counts the channels that have another place. `outputs` and `inputs` are numbers of channels and of weights of each,
    before and after, and `kept` counts the old channels that are still there; `edited` counts the weights that are others. `exchanged` are two
    parameters of a normalisation, `reset` says that its statistics are those before training; `limits` are the ends of a range, `grid` is the step of
    which weights are multiples. `types` are those stored.
    """

    kind: str
    difference: float | None = None
    types: tuple[str, str] = ("", "")
    rounding: float | None = None
    pruned: float | None = None
    factor: tuple[float, float] | None = None
    axis: str | None = None
    moved: int | None = None
    bias: float | None = None
    cause: str | None = None
    remaining: float | None = None
    shift: tuple[float, float] | None = None
    levels: int | None = None
    rank: int | None = None
    outputs: tuple[int, int] | None = None
    inputs: tuple[int, int] | None = None
    kept: int | None = None
    edited: int | None = None
    exchanged: tuple[str, str] | None = None
    reset: bool | None = None
    limits: tuple[float, float] | None = None
    grid: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def measure_gap(first: Array, second: Array) -> float:
    """|second − first| / |first|."""
    length = float(np.linalg.norm(first))
    gap = float(np.linalg.norm(second - first))
    return gap / length if length else (0.0 if not gap else float("inf"))
