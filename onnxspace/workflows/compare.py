"""Comparison of models that are explained by one setup: affinities and scores, in memory or in a result folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxspace.inputs.execution import Counter
from onnxspace.inputs.methods import FIELDS_METHOD, configure_options, resolve_settings
from onnxspace.inputs.precision import ModelPrecision, read_precision
from onnxspace.inputs.protocol import GENERATED
from onnxspace.report.result_folder import place_maps, place_probes, result_folder, write_results
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.folds import hash_images, order_by_content
from onnxspace.scores.reduce import arrays_of
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import Prints, list_records, record_of
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.mixed import Matrix, affinities
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import find_evidence
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.resume import WorkFolders
from onnxspace.workflows.ahead import open_ahead
from onnxspace.workflows.files import representations_for
from onnxspace.workflows.rank import add_certainty, add_scores
from onnxspace.workflows.requests import DescribedModel, Destination
from onnxspace.workflows.run import Run, Turn
from onnxspace.workflows.score_plan import ScorePlan
from onnxspace.workflows.session import open_session
from onnxspace.workflows.workers import collect_from, connect_workers, describe_workers, make_dispatcher, row_function_for

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.submission import Cluster


@dataclass
class ResultSink:
    """The sink of the models of one comparison.

    Their files are written to `folder`, where they are `kept` if the run is interrupted. `prints` holds fingerprints that were read,
    or the errors of reading them, by path; `steps` is the number of steps of gradient fields. `chosen` are the precisions of maps that
    were chosen by a measurement, by key.
    """

    folder: Path
    kept: bool
    prints: Prints
    steps: int
    records: list[ModelRecord] = field(default_factory=list)
    models: list[Arrays | Fingerprint] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    chosen: dict[str, ModelPrecision] = field(default_factory=dict)
    precisions: list[ModelPrecision | None] = field(default_factory=list)
    _written: dict[str, Arrays] = field(default_factory=dict)

    def has_read(self, path: Path) -> bool:
        return path in self.prints

    def enter_file(self, path: Path, name: str) -> None:
        record, one = record_of(self.prints[path], path, name)
        self._append(record, one, ModelPrecision(read_precision(one.options)))

    def is_missing(self, model: DescribedModel) -> bool:
        return True

    def enter(self, turn: Turn, model: DescribedModel, run: Run) -> None:
        key = model.key
        if key in self._written:
            run.warnings += model.remarks
        else:
            files = run.write(model, Destination(self.folder, key, self.kept))
            self._written[key] = Arrays(**files, steps=self.steps, lost=run.lost)
            if run.precision is not None:
                self.chosen[key] = run.precision
        self._append(model.record, self._written[key], self.chosen.get(key))

    def _append(self, record: ModelRecord, model: Arrays | Fingerprint, precision: ModelPrecision | None) -> None:
        self.records.append(record)
        self.models.append(model)
        self.precisions.append(precision)

    @property
    def has_maps(self) -> bool:
        """Whether maps of all models are there: none are where a single model is left of several."""
        return all(not isinstance(one, Arrays) or one.maps is not None for one in self.models)

    def describe_precisions(self, stated: ModelPrecision) -> dict[str, ModelPrecision]:
        """The precision of each model's maps, by its name; `stated` is that of models for which none was chosen."""
        return {record.name: one or stated for record, one in zip(self.records, self.precisions, strict=True)}

    def fail(self, path: Path, error: Exception, sentence: str) -> None:
        self.failed.append(Failure(str(path), sentence))

    def maps(self) -> list[tuple[str, Path]]:
        """Return the SHA-256 and the file of maps of every model that was explained."""
        pairs = zip(self.records, self.models, strict=True)
        return [(record.sha256, one.maps) for record, one in pairs if isinstance(one, Arrays) and one.maps is not None]


def score_models(plan: ScorePlan, output: Path | None) -> Affinity:
    """Compare models as `onnxspace.score` does, by a plan that has an agreement; `output` is the result folder (None: none).

    Raises ConfigError, OutputError, ClusterError.
    """
    assert plan.agreement is not None
    agreement, execution, selection, setup = plan.agreement, plan.execution, plan.selection, plan.agreement.setup
    with open_session(execution) as session, ExitStack() as stack:
        session.check([setup.method], setup, plan.config.rules, device=execution.cluster is None)
        setup = replace(setup, options=configure_options(setup.method, setup.options, plan.config.rules))
        workers = stack.enter_context(connect_workers(execution.cluster if selection.needs("maps") else None))
        key = None if output is None else session.make_run_key(setup, describe_workers(workers, execution))
        work = stack.enter_context(_open_work_folders(output, key, len(setup.probes)))
        sink = ResultSink(
            work.maps, output is not None, agreement.prints, resolve_settings([FIELDS_METHOD], selection.fields).steps
        )
        seen = setup.probes if agreement.pictures is None else agreement.pictures
        work_of_model = sum(len(setup.probes if kind in ("maps", "fields") else seen) for kind in selection.kinds)
        counter = Counter(len(plan.paths) * work_of_model, execution.progress)
        ahead = None
        if selection.needs("maps"):
            unread = sum(path not in agreement.prints for path in plan.paths)
            ahead = stack.enter_context(open_ahead(session, execution, setup, unread))
        dispatcher = make_dispatcher(workers, work.maps, setup, execution, counter)
        pictures = None if seen is setup.probes else seen
        kinds = representations_for(selection, setup, execution, session, collect_from(dispatcher, setup), pictures)
        run = Run(
            session,
            plan.config,
            sink,
            kinds,
            counter,
            list(agreement.remarks),
            dispatcher,
            announce=execution.announce,
            find_others=(lambda _: list_records(agreement.prints)) if agreement.prints else None,
            ahead=ahead,
            least=plan.least_opened,
        )
        run.explain_all(plan.paths, plan.encoders)
        result, kept = make_result(sink, run.warnings, plan, workers)
        if output is not None and result.models and run.computes:
            place_maps(work.result / "maps", sink.maps())
            if selection.needs("maps") and GENERATED.fullmatch(setup.probes.name) is None:
                place_probes(work.result, setup.probes.images)
            write_results(work.result, kept)
    return result


def make_result(
    sink: ResultSink, warnings: Sequence[str], plan: ScorePlan, workers: Cluster | None
) -> tuple[Affinity, Affinity]:  # fmt: skip
    """Make the result, and the result with the certainty that is stored in a folder."""
    assert plan.agreement is not None
    selection, execution = plan.selection, plan.execution
    setup, pictures = plan.agreement.setup, plan.agreement.pictures
    compared = [one.maps or Path() if isinstance(one, Arrays) else one for one in sink.models]
    matrix: Matrix = np.full((len(compared), len(compared)), np.nan)
    errors: Matrix | None = None
    computed = selection.needs("maps") and sink.has_maps
    if computed:
        matrix, errors = affinities(compared, row_function_for(workers), execution.memory)
    elif selection.needs("maps"):
        np.fill_diagonal(matrix, 1.0)
    plain = Affinity(
        tuple(sink.records), matrix, setup.method, setup.probe_facts(), tuple(sink.failed), (), setup.stated_options, errors,
        evidence=find_evidence(setup.probes.name),
        pictures=None if pictures is None else replace(setup, probes=pictures).probe_facts(),
        precisions=sink.describe_precisions(plan.stated_precision) if computed else {},
    )  # fmt: skip
    models = [one if isinstance(one, Arrays) else arrays_of(one) for one in sink.models]
    seen = setup.probes if pictures is None else pictures
    found, shares = add_scores(plain, selection, models, order_by_content(hash_images(seen.images)))
    found = replace(found, warnings=(*warnings, *found.warnings))
    return add_certainty(found, selection, shares, compared, execution)


@contextmanager
def _open_work_folders(output: Path | None, key: str | None, images: int) -> Iterator[WorkFolders]:
    """The working folders for maps and for the result: beside the result, or temporary ones."""
    if output is not None and key is not None:
        with result_folder(output, key, images) as work:
            yield work
        return
    with scratch_folder() as folder:
        yield WorkFolders(folder, folder, folder)
