"""How well some seeds of the oracle predict the others, and how far two oracles agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.oracle.table import Losses, Table
from onnxspace.evaluation.correlation import weighted_tau
from onnxspace.evaluation.precision import hits, relevance


@dataclass(frozen=True)
class Noise:
    """How well some seeds' ranking of the sources tells others': means over targets and draws. `precision` is P@1 … P@5."""

    precision: tuple[float, ...]
    tau: float


def measure_ceiling(losses: Losses, candidates: NDArray[np.bool_], told: int = 1, draws: int = 20) -> Noise:
    """What the oracle says of itself: the mean over `told` seeds as a prediction of the mean over all others.

    `losses` float64 [targets, sources, seeds], `candidates` bool [targets, sources]. The relevant sources are the best five, as in
    `onnxspace.evaluation`. Each draw divides the seeds anew; where there are no more than `draws` ways, as with one seed, every seed
    has its turn. Nobody who predicts the oracle from one draw of labels can be expected to do better. Raises ValueError where
    no seed is left to be predicted.
    """
    seeds = losses.shape[2]
    if not 1 <= told < seeds:
        raise ValueError(f"{told} of {seeds} seeds leave none to be predicted.")
    found = [_predict_rest(losses, candidates, some) for some in _divide_seeds(seeds, told, draws)]
    mean = np.mean(found, axis=0)
    return Noise(tuple(float(value) for value in mean[:-1]), float(mean[-1]))


def _divide_seeds(seeds: int, told: int, draws: int) -> list[NDArray[np.intp]]:
    if told == 1:
        return [np.array([seed]) for seed in range(seeds)]
    return [np.random.default_rng((draw, told)).permutation(seeds)[:told] for draw in range(draws)]


def _predict_rest(losses: Losses, candidates: NDArray[np.bool_], some: NDArray[np.intp]) -> Losses:
    """P@1 … P@5 and weighted tau, a mean over targets."""
    rest = np.setdiff1d(np.arange(losses.shape[2]), some)
    found = []
    for values, allowed in zip(losses, candidates, strict=True):
        predicted, truth = (-values[allowed][:, side].mean(1) for side in (some, rest))
        counts = np.arange(1, 6)
        found.append([*(hits(relevance(truth), predicted)[:5] / counts), weighted_tau(predicted, truth)])
    mean: Losses = np.mean(found, axis=0)
    return mean


def compare_rankings(one: Table, other: Table) -> dict[str, float]:
    """Weighted tau of two oracles' rankings of the sources they share, by target that both have."""
    sources = [name for name in one.sources if name in other.sources]
    sides = [[table.sources.index(name) for name in sources] for table in (one, other)]
    found = {}
    for target in (name for name in one.targets if name in other.targets):
        rows = [
            table.losses[table.targets.index(target), side].mean(1) for table, side in zip((one, other), sides, strict=True)
        ]
        free = [place for place, name in enumerate(sources) if name != target]
        found[target] = weighted_tau(-rows[0][free], -rows[1][free])
    return found
