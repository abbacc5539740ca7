"""Successive halving: which networks are trained for how long, and the ranking that follows (Jamieson and Talwalkar, AISTATS 2016)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

#: Folds of the images; a run trains on all but one.
FOLDS = 4
#: Weight of the rank by readouts, and of that by known results, beside the mean rank by results and training losses.
SIDE_WEIGHT = 0.25
_USED = 0.85  # share of a budget that is planned for; the rest is for what measuring and starting take
#: Advances runs, each (model, fold, first epoch, last epoch); returns the answer of each, in order.
Advance = Callable[[Sequence[tuple[int, int, int, int]]], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Rung:
    """A stage of the race: the best `share` of the models are trained up to `epochs`, on the first `folds`."""

    epochs: int
    share: float
    folds: int = 1


#: Images of an epoch below which epochs are shortened instead.
FEWEST_IMAGES = 64


@dataclass(frozen=True)
class Plan:
    """The stages that a budget allows: `images` per epoch, 0 for all of `every`; `short` where either had to be cut."""

    rungs: tuple[Rung, ...]
    images: int
    every: int
    short: bool

    def describe(self) -> str:
        """The plan in words."""
        return (
            f"each epoch takes {self.images or self.every} of {self.every} images, for {self.rungs[-1].epochs} epochs at most"
        )


def plan_stages(rungs: Sequence[Rung], images: int, seconds: float, budget: float) -> Plan:
    """Plan stages for `budget` seconds, where one image through all models takes `seconds`, and an epoch has `images`.

    Where all does not fit, each epoch takes fewer images, down to 64; then there are fewer epochs, down to one.

    >>> plan_stages((Rung(3, 1.0), Rung(5, 0.5)), 225, 0.1, 45.0).describe()
    'each epoch takes 95 of 225 images, for 5 epochs at most'
    """
    epochs = sum(rung.share * rung.folds * (rung.epochs - before) for rung, before in _with_starts(rungs))
    fitting = _USED * budget / max(seconds * epochs, 1e-9)
    if fitting >= images:
        return Plan(tuple(rungs), 0, images, short=False)
    fewest = min(images, FEWEST_IMAGES)
    scale = min(1.0, fitting / fewest)
    shortened = tuple(replace(rung, epochs=max(1, round(rung.epochs * scale))) for rung in rungs)
    return Plan(shortened, max(fewest, int(fitting)), images, short=True)


def _with_starts(rungs: Sequence[Rung]) -> Iterator[tuple[Rung, int]]:
    """Each stage with the epochs that the one before ended at."""
    yield from zip(rungs, [0, *(rung.epochs for rung in rungs)], strict=False)


@dataclass
class Candidate:
    """One network in the race: the epochs, results and losses of its held-out images, and training losses, by fold.

    `readout` is the mean result of readouts of the frozen network over all images, where it was computed; `elsewhere` its mean rank
    on other datasets, 1 is best, where it is known.
    """

    readout: float | None = None
    elsewhere: float | None = None
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

    @property
    def progress(self) -> float:
        """The mean training loss over all epochs of the runs that were trained for longest: small for one that learns fast."""
        most = max(self.epochs.values(), default=0)
        return float(np.mean([np.mean(self.losses[fold]) for fold, epochs in self.epochs.items() if epochs == most]))

    def mean(self, which: Mapping[int, list[float]]) -> float:
        """The mean of `pool`."""
        return float(np.mean(self.pool(which)))


def order_candidates(candidates: Sequence[Candidate]) -> list[int]:
    """Positions of the candidates without an error, best first: by the rung reached, then by a mean of ranks.

    The ranks are those of the results on held-out images and of the mean training loss, among the candidates of a rung, and, each
    with a quarter of their mean's weight, of readouts and of results elsewhere, where they are known. Equal values share their mean
    rank. A training loss is of three times as many images as a result, a readout of four times as many: they steady it.
    """
    found: list[int] = []
    for rung in sorted({c.rung for c in candidates if c.error is None and c.epochs}, reverse=True):
        here = [i for i, c in enumerate(candidates) if c.rung == rung and c.error is None and c.epochs]
        merits = _sum_ranks([candidates[i] for i in here])
        found += [here[i] for i in np.argsort(merits, kind="stable")]
    return found


def _sum_ranks(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Weighted sums of ranks, small for the best."""
    sums = rankdata([-one.mean(one.results) for one in candidates]) + rankdata([one.progress for one in candidates])
    readouts = [None if one.readout is None else -one.readout for one in candidates]
    for known in (readouts, [one.elsewhere for one in candidates]):
        sums += 2 * SIDE_WEIGHT * _rank_present(known)
    return np.asarray(sums)


def _rank_present(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Ranks of values, small for the best; a missing one has the middle rank, all 0 where none is known."""
    known = np.array([np.nan if value is None else value for value in values])
    there = np.isfinite(known)
    ranks = np.full(len(known), (len(known) + 1) / 2)
    ranks[there] = (rankdata(known[there]) - 0.5) * len(known) / max(1, there.sum()) + 0.5
    return ranks if there.any() else np.zeros(len(known))


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
    folds and seeds, up to `repeats` runs of each model; the best first, where there is no time for all. `readouts` are results of
    the frozen networks, `elsewhere` mean ranks on other datasets; they help to order them.
    """

    count: int
    rungs: Sequence[Rung]
    advance: Advance
    budget: Budget
    workers: int = 1
    repeats: int = 4 * FOLDS
    readouts: Sequence[float | None] = ()
    elsewhere: Sequence[float | None] = ()
    candidates: list[Candidate] = field(default_factory=list)

    def run(self) -> list[Candidate]:
        """Run the race; returns the candidates by position."""
        unknown = [None] * self.count
        sides = zip(self.readouts or unknown, self.elsewhere or unknown, strict=True)
        self.candidates = [Candidate(readout, elsewhere) for readout, elsewhere in sides]
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
            if fold == 0 and fitting < len(wave):  # a part of the rest would be ranked above what it lost to
                continue
            self._advance([(i, fold, last) for i in wave[:fitting]], number + fold)
            if fold == 0:
                for i in order:
                    self.candidates[i].rung = number
            elif fitting < len(wave):
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
