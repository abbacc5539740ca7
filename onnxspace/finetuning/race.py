"""Successive halving: which networks are trained for how long, and the ranking that follows (Jamieson and Talwalkar, AISTATS 2016)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata

#: Folds of the images; a run trains on all but one.
FOLDS = 4
#: Advances runs, each (model, fold, first epoch, last epoch); returns the answer of each, in order.
Advance = Callable[[Sequence[tuple[int, int, int, int]]], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Rung:
    """A stage of the race: the best `share` of the models are trained up to `epochs`, on the first `folds`."""

    epochs: int
    share: float
    folds: int = 1


@dataclass
class Candidate:
    """One network in the race: the epochs, results and losses of its held-out images, and training losses, by fold."""

    rung: int = -1
    epochs: dict[int, int] = field(default_factory=dict)
    results: dict[int, list[float]] = field(default_factory=dict)
    judged: dict[int, list[float]] = field(default_factory=dict)
    losses: dict[int, list[float]] = field(default_factory=dict)
    history: list[tuple[int, int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    def record(self, fold: int, last: int, answer: Mapping[str, Any]) -> None:
        """Enter the answer of a job: fold, epochs, mean result and loss go to the history."""
        if "error" in answer:
            self.error = str(answer["error"])
            return
        self.epochs[fold] = last
        self.results[fold], self.judged[fold] = list(answer["results"]), list(answer["judged"])
        self.losses.setdefault(fold, []).extend(answer["losses"])
        self.history.append((fold, last, float(np.mean(self.results[fold])), float(np.mean(self.judged[fold]))))
        self.seconds += float(answer["seconds"])

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, with a share of what comes before and after training."""
        return self.seconds / max(1, sum(self.epochs.values()))

    def pool(self, which: Mapping[int, list[float]]) -> list[float]:
        """The values of all held-out images of the runs that were trained for longest."""
        most = max(self.epochs.values(), default=0)
        return [value for fold, epochs in self.epochs.items() if epochs == most for value in which[fold]]

    def mean(self, which: Mapping[int, list[float]]) -> float:
        """The mean of `pool`."""
        return float(np.mean(self.pool(which)))


def order_candidates(candidates: Sequence[Candidate]) -> list[int]:
    """Positions of the candidates without an error, best first: by the rung reached, then by the mean of two ranks.

    The ranks are those of the results and of the losses among the candidates of a rung; equal values share their mean rank.
    """
    found: list[int] = []
    for rung in sorted({c.rung for c in candidates if c.error is None and c.epochs}, reverse=True):
        here = [i for i, c in enumerate(candidates) if c.rung == rung and c.error is None and c.epochs]
        results = rankdata([-candidates[i].mean(candidates[i].results) for i in here])
        losses = rankdata([candidates[i].mean(candidates[i].judged) for i in here])
        found += [here[i] for i in np.argsort(results + losses, kind="stable")]
    return found


@dataclass
class Budget:
    """Seconds that a race may take, from now; None: as long as its rungs need."""

    seconds: float | None
    began: float = field(default_factory=time.monotonic)

    @property
    def used(self) -> float:
        """Seconds since the race began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds that remain, infinite without a budget."""
        return float("inf") if self.seconds is None else self.seconds - self.used


@dataclass
class Race:
    """A race over `count` models, of which `workers` are trained at once.

    First come the `rungs` on one fold. Then, while `budget` lasts, the others are trained as long as the best, and all on further
    folds and seeds, up to `repeats` runs of each model; the best first, where there is no time for all.
    """

    count: int
    rungs: Sequence[Rung]
    advance: Advance
    budget: Budget
    workers: int = 1
    repeats: int = 4 * FOLDS
    candidates: list[Candidate] = field(default_factory=list)

    def run(self) -> list[Candidate]:
        """Run the race; returns the candidates by position."""
        self.candidates = [Candidate() for _ in range(self.count)]
        entrants = list(range(self.count))
        for number, rung in enumerate(self.rungs):
            entrants = entrants[: max(1, round(rung.share * self.count))]
            self._advance([(i, fold, rung.epochs) for fold in range(rung.folds) for i in entrants], number)
            entrants = [i for i in order_candidates(self.candidates) if self.candidates[i].rung == number]
        self._use_what_is_left(len(self.rungs))
        return self.candidates

    def _use_what_is_left(self, number: int) -> None:
        """Train further while the budget lasts: one wave for each fold, with as many of the best as there is time for."""
        last = self.rungs[-1].epochs
        for fold in range(self.repeats if self.budget.seconds is not None else 0):
            order = order_candidates(self.candidates)
            wave = [i for i in order if self.candidates[i].epochs.get(fold, 0) < last]
            fitting = self._count_fitting(wave, fold, last)
            if fitting and fold == 0:
                fitting = len(wave) if fitting == len(wave) else 0
            self._advance([(i, fold, last) for i in wave[:fitting]], number + fold)
            if fold == 0:
                for i in order if fitting or not wave else ():
                    self.candidates[i].rung = number
            if fitting < len(wave):
                return

    def _count_fitting(self, wave: Sequence[int], fold: int, last: int) -> int:
        """How many of the first models of a wave can be trained within the budget, as estimated from their earlier runs."""
        total = 0.0
        for place, i in enumerate(wave):
            total += self.candidates[i].epoch_seconds * (last - self.candidates[i].epochs.get(fold, 0)) / self.workers
            if total > self.budget.left:
                return place
        return len(wave)

    def _advance(self, wanted: Sequence[tuple[int, int, int]], rung: int) -> None:
        jobs = [(i, fold, self.candidates[i].epochs.get(fold, 0), last) for i, fold, last in wanted]
        for (i, fold, _, last), answer in zip(jobs, self.advance(jobs) if jobs else [], strict=True):
            self.candidates[i].record(fold, last, answer)
            self.candidates[i].rung = rung
