"""The models of a race: opened and trained in worker processes, with a folder that keeps finished work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.errors import ModelError
from onnxspace.evaluation.past_results import ModelIdentity, PastResult
from onnxspace.exporters.cache import onnx_file, stated_options
from onnxspace.finetuning.jobs import ModelFile, Run, to_request
from onnxspace.finetuning.race import FOLDS, Budget, Rung, plan_stages
from onnxspace.finetuning.workers import WorkerPool
from onnxspace.inputs.config import Config
from onnxspace.inputs.names import encoders_for, name_models
from onnxspace.inputs.pixel_record import parse_pixel_record
from onnxspace.sandbox.limits import resolve_limits
from onnxspace.scores.finetuned import FineTuneRanking
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.regular_files import read_regular
from onnxspace.workflows.finetuning_task import Task, Training

_FORWARD = 0.4  # what a pass forwards takes of a step
_MOST_READOUTS = 0.15  # of a budget, that goes to readouts


@dataclass
class Entrants:
    """The models of a race: their files, images at their size, and records."""

    task: Task
    training: Training
    pool: WorkerPool
    files: list[ModelFile] = field(default_factory=list)
    records: list[ModelRecord] = field(default_factory=list)
    architectures: list[str] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    step_seconds: float = 0.0  # of training with one image, all models, on all workers

    def describe(self, paths: Sequence[Path], encoders: Sequence[str], config: Config) -> None:
        """Open the models in worker processes, and decode the images at the sizes that they take."""
        names = name_models(paths, config)
        given = zip(paths, names, encoders_for(paths, names, encoders), strict=True)
        asked = [found for path, name, encoder in given if (found := self._locate(path, name, encoder, config))]
        answers: dict[int, dict[str, Any]] = {}
        requests = [{"task": "describe", "model": asdict(file)} for _, _, file in asked]
        for index, answer in self.pool.perform_all(requests):
            answers[index] = answer
            self._report("opening", len(answers), len(asked))
        for index, (path, name, file) in enumerate(asked):
            self._enter(path, name, file, answers[index])

    def _locate(self, path: Path, name: str, encoder: str | None, config: Config) -> tuple[Path, str, ModelFile] | None:
        try:
            file = onnx_file(path, encoder, config, resolve_limits(self.training.limits))
            options = stated_options(path, file, config)
            return path, name, ModelFile.describe(file, encoder if file == path else None, options)
        except Exception as error:
            self.failed.append(Failure(str(path), str(error)))
            return None

    def _enter(self, path: Path, name: str, file: ModelFile, answer: Mapping[str, Any]) -> None:
        if "error" in answer:
            self.failed.append(Failure(str(path), str(answer["error"])))
            return
        facts = (answer["sha256"], answer["encoder"], answer["input"], answer["opset"], answer["producer"])
        pixels = parse_pixel_record(answer["pixels"])
        self.records.append(ModelRecord(name, str(path), *facts, tuple(answer["assumed"]), pixels))
        self.warnings += map(str, answer["warnings"])
        self.architectures.append(str(answer["architecture"]))
        self.files.append(file)
        self.images.append(self.task.decode(max(answer["height"], answer["width"])))

    @property
    def identities(self) -> list[ModelIdentity]:
        """What identifies each model in files of results."""
        pairs = zip(self.records, self.architectures, strict=True)
        return [ModelIdentity(record.name, record.sha256, architecture) for record, architecture in pairs]

    def to_results(self, ranking: FineTuneRanking) -> list[PastResult]:
        """The ranking as results on this dataset."""
        kinds = {one.sha256: one.architecture for one in self.identities}
        name = str(self.task.data["name"])
        return [
            PastResult(
                name,
                one.record.name,
                one.value,
                self.task.key,
                one.record.sha256,
                kinds[one.record.sha256],
                self.training.transfer,
            )
            for one in {one.record.sha256: one for one in reversed(ranking.models)}.values()
        ]

    def fit_to_budget(self, budget: Budget) -> Sequence[Rung]:
        """Return the stages that the budget allows, after timing a step of each model; images are cut before epochs."""
        if budget.seconds is None or not self.records or self.training.frozen:
            return self.training.rungs
        requests = [{"task": "time", "run": asdict(self._run(model, 0))} for model in range(len(self.records))]
        seconds = sum(answer.get("seconds", 0.0) for _, answer in self.pool.perform_all(requests))
        self.step_seconds = seconds / len(self.pool.workers)
        images = round(len(self.task.targets) * (1 - 1 / FOLDS))
        plan = plan_stages(self.training.rungs, images, self.step_seconds, budget.left - self._readout_seconds(budget))
        self.training = replace(self.training, schedule=replace(self.training.schedule, images=plan.images), rungs=plan.rungs)
        if plan.short:
            self.warnings.append(
                f"The budget is short: {plan.describe()}. The ranking is rough; a longer --budget or fewer models improve it."
            )
        return plan.rungs

    def _readout_seconds(self, budget: Budget) -> float:
        """Estimate what readouts of all models take, a pass forwards through all images; 0 where the budget is too short for them."""
        seconds = self.step_seconds * len(self.task.targets) * _FORWARD
        return seconds if seconds <= _MOST_READOUTS * budget.left else 0.0

    def fit_readouts(self, budget: Budget) -> list[float | None]:
        """The mean result of readouts of each frozen network, None where it failed, or where the budget is too short for all."""
        if self.training.frozen or (budget.seconds is not None and not self._readout_seconds(budget)):
            return [None] * len(self.records)
        runs = [self._run(model, 0) for model in range(len(self.records))]
        places = [self.training.folder / f"run-{self._key(model, 0)}-readouts.json" for model in range(len(runs))]
        requests = [{"task": "readouts", "run": asdict(run)} for run in runs]
        answers = self._perform(requests, places, [f"{record.name}, readouts" for record in self.records])
        return [float(np.mean(answer["results"])) if "results" in answer else None for answer in answers]

    def write_task(self) -> None:
        """Write targets and folds for the worker processes."""
        with whole_file(self._task_file) as partial, partial.open("wb") as out:
            np.savez(out, values=self.task.targets.values, folds=self.task.folds)

    @property
    def _task_file(self) -> Path:
        return self.training.folder / f"task-{self.task.key}.npz"

    def save(self, order: Sequence[int], file: Path) -> None:
        """Fine-tune the best model on all images and write it to `file`. Raises ModelError where there is none, or it fails."""
        if not order:
            raise ModelError(f"No model could be fine-tuned, so {file} was not written.")
        run = replace(self._run(order[0], 0), fold=-1)
        request = {"task": "save", "run": asdict(run), "names": self.task.targets.names, "file": str(file.absolute())}
        ((_, answer),) = self.pool.perform_all([request])
        if "error" in answer:
            raise ModelError(str(answer["error"]))

    def advance(self, jobs: Sequence[tuple[int, int, int, int]]) -> list[Mapping[str, Any]]:
        """Carry out jobs of the race."""
        names = [self.records[job[0]].name for job in jobs]
        return self._perform([self._request(*job) for job in jobs], [self._place(*job) for job in jobs], names)

    def _perform(
        self, requests: Sequence[Mapping[str, Any]], places: Sequence[Path], names: Sequence[str]
    ) -> list[Mapping[str, Any]]:
        """Carry out requests, except those whose answers an earlier run left at their `places`."""
        answers: dict[int, Mapping[str, Any]] = {i: found for i, place in enumerate(places) if (found := _read_answer(place))}
        missing = [i for i in range(len(requests)) if i not in answers]
        for index, answer in self.pool.perform_all([requests[i] for i in missing]):
            i = missing[index]
            answers[i] = answer
            if "error" not in answer:
                _write_answer(places[i], answer)
            self._report(names[i], len(answers), len(requests))
        return [answers[i] for i in range(len(requests))]

    def _request(self, model: int, repeat: int, first: int, last: int) -> dict[str, Any]:
        return to_request(self._run(model, repeat), first, last)

    def _run(self, model: int, repeat: int) -> Run:
        given, state = self.training, self.training.folder / f"run-{self._key(model, repeat)}"
        return Run(
            self.files[model], str(self.images[model]), str(self._task_file), self.task.targets.kind,
            repeat % FOLDS, given.seed + repeat // FOLDS, given.schedule, str(state), device=given.device, frozen=given.frozen,
        )  # fmt: skip

    def _place(self, model: int, repeat: int, _first: int, last: int) -> Path:
        return self.training.folder / f"run-{self._key(model, repeat)}-{last}.json"

    def _key(self, model: int, repeat: int) -> str:
        record, given = self.records[model], self.training
        facts = (
            record.sha256,
            record.encoder,
            self.files[model].options,
            self.task.key,
            given.schedule,
            given.seed,
            repeat,
            given.frozen,
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]

    def _report(self, what: str, done: int, total: int) -> None:
        if self.training.progress is not None:
            self.training.progress(what, done, total)


def _read_answer(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(read_regular(place))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write_answer(place: Path, answer: Mapping[str, Any]) -> None:
    with whole_file(place) as partial:
        partial.write_text(json.dumps(answer), "utf-8")
