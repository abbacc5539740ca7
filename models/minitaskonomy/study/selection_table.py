"""The choice of a default among many variants, by every scheme: the lines of choosing.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.study import evaluation, permutation, selection
from models.minitaskonomy.study.evaluation import MEASURES, Judgement, Oracle
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT
from models.minitaskonomy.study.permutation import ChanceGain
from models.minitaskonomy.study.score_matrix import LABEL_FREE, Score
from models.minitaskonomy.study.selection import Difference
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import Zoo

TAU = MEASURES.index("tau")
LEAST_IMAGES = 16
Values = NDArray[np.float64]
Schemes = dict[str, list[str]]
HEAD = (
    "against", "pool", "scheme", "measure", "variants", "default", "chosen", "difference", "low", "high", "by chance", "95 of 100 by chance",
    "p", "most chosen", "times",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What a choice is made of: measures against each half of the seeds by the score's identity, [targets, measures]; and weighted
    taus under every deal of the oracle's names, [variants, deals, targets], against the whole oracle and against the halves.

    `rows` says where a score is in these; no halves where the oracle has one seed.
    """

    default: Judgement
    zoo: Zoo
    halves: Sequence[Mapping[int, Values]]
    orders: NDArray[np.intp]
    taus: Sequence[Values]
    rows: Mapping[int, int]

    def of(self, variants: Sequence[Judgement]) -> list[Values]:
        """Taus of some variants, and of the halves."""
        places = [self.rows[id(one.score)] for one in variants]
        return [values[places] for values in self.taus]


def form_pools(some: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """Variants among which a default is chosen; every one has a value for every target, and none sees a label."""
    free = [one for one in some if one.score.kind in LABEL_FREE and one.score.name not in ("fingerprint", DEFAULT)]
    free = [one for one in free if np.isfinite(one.each).all() and one.score.images >= LEAST_IMAGES]
    made = [one for one in free if one.score.probe.startswith("generated")]
    found = {
        "maps of 64 generated images": [one for one in made if one.score.kind == "maps" and one.score.images <= 64],
        "maps": [one for one in free if one.score.kind == "maps"],
        "any score of generated images": made,
        "any score of two models": [one for one in free if one.score.kind != "prediction"],
        "any score": free,
        "the default alone": [one for one in some if one.score.name == DEFAULT],
    }
    return {name: variants for name, variants in found.items() if variants}


def choose(all_judged: Sequence[Judgement], oracle: Oracle, zoo: Zoo) -> tuple[list[dict[str, str]], list[Judgement]]:
    """Lines of choosing.csv, and the best of each kind of score over all targets, by weighted tau.

    Everything is held against the affinity of maps, and against the ranking by default.
    """
    some = [one for one in all_judged if one.group == "tasks"]
    references = [one for name in (AFFINITY, DEFAULT) for one in some if one.score.name == name]
    if not references:
        return [], []
    found, lines = form_pools(some), []
    everyone = list({id(one): one for pool in (references, *found.values()) for one in pool}.values())
    case = _prepare_case(references[0], everyone, oracle, zoo)
    for reference in references:
        for pool, variants in found.items():
            if variants == [reference]:
                continue
            for scheme, measure, difference, luck in _run_schemes(replace(case, default=reference), variants):
                said = (reference.score.name, pool, scheme, measure, str(len(variants)))
                lines.append(_format_row(said, difference, luck, variants))
    free = max(found.values(), key=len, default=[])
    best = [max((one for one in free if one.score.kind == kind), key=_read_tau, default=None) for kind in LABEL_FREE]
    return lines, [one for one in best if one is not None]


def _read_tau(one: Judgement) -> float:
    return float(one.mean[TAU])


def _prepare_case(default: Judgement, some: Sequence[Judgement], oracle: Oracle, zoo: Zoo) -> Case:
    everyone = [default, *(one for one in some if one is not default)]
    truths = [oracle.half(False), oracle.half(True)] if len(oracle.values) > 1 else []
    halves = [
        {id(one.score): evaluation.measure_targets(one.score.values, truth, zoo.main) for one in everyone} for truth in truths
    ]
    predicted = permutation.drop_own(np.stack([one.score.values[:, zoo.main] for one in everyone]))
    orders = permutation.draw_deals(len(zoo.targets))
    taus = [
        permutation.compute_taus(predicted, permutation.apply_deals(truth[:, zoo.main], orders))
        for truth in (oracle.mean, *truths)
    ]
    return Case(default, zoo, halves, orders, taus, {id(one.score): row for row, one in enumerate(everyone)})


def _run_schemes(case: Case, variants: Sequence[Judgement]) -> Iterator[tuple[str, str, Difference, ChanceGain | None]]:
    """Differences by scheme and measure; what chance gains, of weighted tau."""
    each, (whole, *parts) = np.stack([one.each for one in variants]), case.of(variants)
    (default, *defaults), targets = [values[0] for values in case.of([case.default])], case.zoo.targets
    groups: Schemes = {"leave one task out": targets, "leave one group out": [TASKS[name].group for name in targets]}
    for scheme, names in groups.items():
        luck = permutation.measure_nested(whole, default, names, case.orders)
        for place, measure in enumerate(MEASURES):
            found = selection.select_nested(each[:, :, TAU], each[:, :, place], case.default.each[:, place], names)
            yield scheme, measure, found, luck if place == TAU else None
    if case.halves:
        luck = permutation.measure_across_halves(parts, defaults)
        by_half = [np.stack([half[id(one.score)] for one in variants]) for half in case.halves]
        mine = [half[id(case.default.score)] for half in case.halves]
        for place, measure in enumerate(MEASURES):
            selectors, values = [half[:, :, TAU] for half in by_half], [half[:, :, place] for half in by_half]
            found = selection.select_across_seeds(selectors, values, [half[:, place] for half in mine])
            yield "other seeds", measure, found, luck if place == TAU else None


def _format_row(
    said: Sequence[str], found: Difference, luck: ChanceGain | None, variants: Sequence[Judgement]
) -> dict[str, str]:
    index, times = found.chosen[0]
    numbers = (found.default, found.chosen_mean, found.difference, found.low, found.high)
    lucky = ("", "", "") if luck is None else (f"{luck.mean:.4f}", f"{luck.high:.4f}", f"{luck.p:.4f}")
    cells = (*said, *(f"{value:.4f}" for value in numbers), *lucky, describe(variants[index].score), str(times))
    return dict(zip(HEAD, cells, strict=True))


def describe(score: Score) -> str:
    """A variant with its images, in one line."""
    return f"{score.label} ({score.images} {score.probe})" if score.images else score.label
