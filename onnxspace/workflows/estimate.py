"""Measuring what a comparison would take: it is run on a few of the images, twice, in a folder that is removed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import Advance, Counter
from onnxspace.inputs.methods import FIELDS_METHOD, configure_options, resolve_settings
from onnxspace.inputs.probes import Probes
from onnxspace.sandbox.peak_memory import take_peak_memory
from onnxspace.scores.registry import Kind
from onnxspace.scores.selection import FEWEST
from onnxspace.similarity.fingerprints.agreement import Agreement, list_records, record_of
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.ahead import can_look_ahead
from onnxspace.workflows.compare import ResultSink, make_result
from onnxspace.workflows.files import Representation, representations_for
from onnxspace.workflows.requests import DescribedModel, Destination, WrittenFile
from onnxspace.workflows.run import Run, Turn
from onnxspace.workflows.score_estimate import Line, ModelEstimate, ScoreEstimate
from onnxspace.workflows.score_plan import ScorePlan
from onnxspace.workflows.session import ModelSession, open_session

#: Numbers of images that are measured: at least so many where pictures rank sources, and four times as many.
_FEW, _TIMES = 2, 4
#: The most images of a batch, and bytes of their activations.
_BATCH, _ACTIVATIONS = 64, 600 * 2**20


@dataclass
class _Cost:
    """What a model took: seconds by kind of file, its worker's peak of memory, and bytes of its files by kind."""

    model: DescribedModel
    seconds: dict[Kind, float] = field(default_factory=dict)
    memory: int = 0
    disk: dict[Kind, int] = field(default_factory=dict)


@dataclass
class _Round:
    """What a comparison on so many `images` took, by the path of a model, and its scores."""

    images: int
    costs: dict[str, _Cost] = field(default_factory=dict)
    opening: float = 0.0
    comparing: float = 0.0
    parent: int = 0


@dataclass(frozen=True)
class _Timed:
    """A representation, with the time that it takes."""

    kind: Kind
    inner: Representation
    costs: dict[str, _Cost]

    @property
    def loss(self) -> str | None:
        return self.inner.loss

    def write(self, model: DescribedModel, to: Destination, advance: Advance) -> WrittenFile:
        cost, began = self.costs.setdefault(model.record.path, _Cost(model)), time.perf_counter()
        written = self.inner.write(model, to, advance)
        cost.seconds[self.kind], cost.disk[self.kind] = time.perf_counter() - began, written.path.stat().st_size
        return written


@dataclass
class _MeasuringSink(ResultSink):
    """A result whose models' peaks of memory are noted, without fingerprints, which take next to nothing."""

    costs: dict[str, _Cost] = field(default_factory=dict)

    def enter_file(self, path: Path, name: str) -> None:
        record_of(self.prints[path], path, name)  # raises the error of one that can't be compared

    def enter(self, turn: Turn, model: DescribedModel, run: Run) -> None:
        run.session.worker.perform({"task": "memory"})
        super().enter(turn, model, run)
        peak = run.session.worker.perform({"task": "memory"})
        found = peak.get("peak") if isinstance(peak, dict) else 0
        if model.record.path in self.costs:
            self.costs[model.record.path].memory = found if type(found) is int else 0


def estimate_score(plan: ScorePlan, kept: str | None = None) -> ScoreEstimate:
    """Estimate what `score` takes by this plan; `kept` is the folder of the result (None: none). Nothing is written there.

    Raises ConfigError where fingerprints alone are compared, or a cluster computes.
    """
    if plan.agreement is None:
        raise ConfigError("--dry-run has nothing to measure: all are fingerprints, which are compared at once. Leave it out.")
    if plan.execution.cluster is not None:
        raise ConfigError("--dry-run measures on this machine: leave out --cluster.")
    began = time.perf_counter()
    with open_session(replace(plan.execution, progress=None)) as session:
        session.check([plan.agreement.setup.method], plan.agreement.setup, plan.config.rules)
        started = time.perf_counter() - began
        failed: list[_MeasuringSink] = []
        rounds = [_measure(session, plan, images, failed) for images in _choose_sample(plan)]
    return _Estimating(plan, rounds[0], rounds[1]).make(started, time.perf_counter() - began, kept, failed[0])


def _choose_sample(plan: ScorePlan) -> tuple[int, int]:
    assert plan.agreement is not None
    there = len(_list_pictures(plan.agreement))
    few = min(there, FEWEST if plan.selection.usual else _FEW)
    return few, min(there, _TIMES * few)


def _list_pictures(agreement: Agreement) -> Probes:
    return agreement.setup.probes if agreement.pictures is None else agreement.pictures


def _take_images(probes: Probes, images: int) -> Probes:
    """The first images, in memory."""
    return Probes(probes.name, np.asarray(probes.images[:images]))


def _measure(session: ModelSession, plan: ScorePlan, images: int, sinks: list[_MeasuringSink]) -> _Round:
    """Run the comparison on the first `images` of the images, without what was computed before."""
    assert plan.agreement is not None
    setup = replace(plan.agreement.setup, probes=_take_images(_list_pictures(plan.agreement), images))
    agreement = replace(
        plan.agreement,
        setup=replace(setup, options=configure_options(setup.method, setup.options, plan.config.rules)),
        pictures=None,
    )
    found = _Round(images)
    take_peak_memory()
    with scratch_folder() as folder:
        sink = _MeasuringSink(folder, False, agreement.prints, _count_steps(plan), costs=found.costs)
        sinks.append(sink)
        began = time.perf_counter()
        run = _make_run(session, plan, agreement, sink, first=len(sinks) == 1)
        run.explain_all(plan.paths, plan.encoders)
        spent = sum(sum(cost.seconds.values()) for cost in found.costs.values())
        compared = time.perf_counter()
        make_result(sink, [], replace(plan, agreement=agreement), None)
        found.opening, found.comparing = compared - began - spent, time.perf_counter() - compared
    found.parent = take_peak_memory()
    return found


def _count_steps(plan: ScorePlan) -> int:
    return resolve_settings([FIELDS_METHOD], plan.selection.fields).steps


def _make_run(session: ModelSession, plan: ScorePlan, agreement: Agreement, sink: _MeasuringSink, *, first: bool) -> Run:
    """The run of one round; models are announced in the first."""
    kinds = representations_for(plan.selection, agreement.setup, plan.execution, session)
    timed = {kind: _Timed(kind, one, sink.costs) for kind, one in kinds.items()}
    announce = plan.execution.announce if first else None
    others = (lambda _: list_records(agreement.prints)) if agreement.prints else None
    return Run(
        session, plan.config, sink, timed, Counter(1, None), announce=announce, find_others=others, least=plan.least_opened
    )


@dataclass(frozen=True)
class _Estimating:
    """Two rounds, and the plan whose numbers of images they are extended to."""

    plan: ScorePlan
    first: _Round
    second: _Round

    def make(self, started: float, measured: float, kept: str | None, sink: ResultSink) -> ScoreEstimate:
        """The estimate; `started` are the seconds until the worker was ready, `sink` has the models that failed."""
        assert self.plan.agreement is not None
        setup, pictures = self.plan.agreement.setup, self.plan.agreement.pictures
        both = [path for path in self.first.costs if path in self.second.costs]
        return ScoreEstimate(
            setup.method, setup.probe_facts(), None if pictures is None else replace(setup, probes=pictures).probe_facts(),
            tuple(self._estimate(self.first.costs[path], self.second.costs[path]) for path in both), tuple(sink.failed),
            started + self.first.opening, self._line(self.first.comparing, self.second.comparing)(self._count("features")),
            int(self._line(self.first.parent, self.second.parent)(self._count("features"))),
            can_look_ahead(self.plan.execution, len(both)), kept, (self.first.images, self.second.images), measured,
        )  # fmt: skip

    def _line(self, first: float, second: float) -> Line:
        return Line((self.first.images, first), (self.second.images, second))

    def _count(self, kind: Kind) -> int:
        """The number of images of this kind of file."""
        assert self.plan.agreement is not None
        return len(self.plan.agreement.setup.probes if kind in ("maps", "fields") else _list_pictures(self.plan.agreement))

    def _estimate(self, first: _Cost, second: _Cost) -> ModelEstimate:
        lines = {
            kind: self._line(first.seconds[kind], second.seconds[kind]) for kind in second.seconds if kind in first.seconds
        }
        if {"features", "outputs"} <= lines.keys():  # from one pass, which is that of the outputs
            del lines["features"]
        record, maps = second.model.record, lines.get("maps")
        return ModelEstimate(
            record.name, record.path, sum(line(self._count(kind)) for kind, line in lines.items()), self._estimate_memory(first, second),
            sum(bytes_ * self._count(kind) // self.second.images for kind, bytes_ in second.disk.items()),
            0.0 if maps is None else maps.start,
        )  # fmt: skip

    def _estimate_memory(self, first: _Cost, second: _Cost) -> int:
        """Memory grows with the images of a batch; activations are bounded."""
        batch = min(_BATCH, max(self._count("maps"), self.second.images))
        grown = self._line(first.memory, second.memory)(batch)
        return int(min(grown, max(first.memory, second.memory) + _ACTIVATIONS))
