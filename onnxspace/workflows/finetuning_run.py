"""Ranking models by fine-tuning them in small: a race within a budget, and the ranking that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.evaluation.past_results import SUFFIX, add_results, estimate_ranks, read_results
from onnxspace.finetuning.race import FOLDS, Budget, Candidate, Race, order_candidates
from onnxspace.finetuning.workers import WorkerPool
from onnxspace.inputs.config import Config
from onnxspace.scores.finetuned import FineTunedModel, FineTuneRanking, Point, group_places, interval_of
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.workflows.finetuning_entrants import Entrants
from onnxspace.workflows.finetuning_task import Task, Training


def rank_by_finetuning(
    models: Sequence[Path], encoders: Sequence[str], config: Config, task: Task, training: Training
) -> FineTuneRanking:
    """Fine-tune `models` on a task and rank them; a model that fails is listed, and changes nothing for the others.

    `encoders` are values of `--encoder`. Raises ConfigError for fewer images than a fold needs, OutputError.
    """
    if len(task.targets) < 2 * FOLDS:
        raise ConfigError(f"Fine-tuning needs at least {2 * FOLDS} images, not {len(task.targets)}. Add some.")
    known = () if training.known is None else read_results(training.known)
    budget = Budget(training.budget)
    with WorkerPool(*training.processes, limits=training.limits) as pool:
        found = Entrants(task, training, pool)
        found.describe(models, encoders, config)
        if training.announce is not None:
            training.announce(found.records)
        race = Race(len(found.records), training.rungs, found.advance, budget, len(pool.workers))
        found.write_task()
        race.rungs = found.fit_to_budget(budget)
        race.readouts = found.fit_readouts(budget)
        race.elsewhere = estimate_ranks(known, found.identities, task.key, training.transfer)
        candidates = race.run() if found.records else []
        if training.save is not None:
            found.save(order_candidates(candidates), training.save)
    ranking = _make_ranking(found, candidates, budget, len({one.target for one in known}))
    if training.known is not None and training.known.suffix == SUFFIX:
        add_results(training.known, found.to_results(ranking))
    return ranking


def _make_ranking(found: Entrants, candidates: Sequence[Candidate], budget: Budget, datasets: int) -> FineTuneRanking:
    order = order_candidates(candidates)
    brackets = group_places([candidates[i].results for i in order])
    most = max(len(order) - 1, 1)
    rows = [
        _describe_candidate(found.records[i], candidates[i], place, brackets[place - 1], 1 - (place - 1) / most)
        for place, i in enumerate(order, 1)
    ]
    broken = [Failure(r.path, c.error) for r, c in zip(found.records, candidates, strict=False) if c.error is not None]
    targets, training = found.task.targets, found.training
    constant, _ = targets.constant
    settings = {
        **asdict(training.schedule), "folds": FOLDS, "seed": training.seed, "budget": training.budget,
        "seconds": round(budget.used, 1), "workers": len(found.pool.workers),
        "frozen": training.frozen, "saved": None if training.save is None else str(training.save),
        "known": None if training.known is None else {"file": str(training.known), "datasets": datasets},
        "stages": [asdict(rung) for rung in training.rungs],
    }  # fmt: skip
    return FineTuneRanking(
        tuple(rows),
        targets.kind,
        found.task.data,
        constant,
        settings,
        (*found.failed, *broken),
        (*found.warnings, *_describe_doubts(rows, constant)),
    )


def _describe_candidate(record: ModelRecord, candidate: Candidate, place: int, bracket: int, value: float) -> FineTunedModel:
    pooled = candidate.pool(candidate.results)
    low, high = interval_of(pooled)
    curve = tuple(Point(*one) for one in candidate.history)
    longest = max(candidate.epochs.values())
    return FineTunedModel(
        record, place, bracket, value, float(np.mean(pooled)), low, high, candidate.mean(candidate.judged), longest,
        sum(epochs == longest for epochs in candidate.epochs.values()), round(candidate.seconds, 3), curve, candidate.readout,
        candidate.elsewhere,
    )  # fmt: skip


def _describe_doubts(rows: Sequence[FineTunedModel], constant: float) -> tuple[str, ...]:
    """Sentences on what the ranking does not show: no model above chance, or first places that can't be told apart."""
    doubts = []
    if rows and rows[0].low <= constant:
        doubts.append(f"No model is better than a constant answer ({constant:.3f}) by more than its error.")
    first = sum(row.bracket == 1 for row in rows)
    if 1 < first == len(rows):
        doubts.append("No model differs from the first by more than its error: any of them may be the best.")
    return tuple(doubts)
