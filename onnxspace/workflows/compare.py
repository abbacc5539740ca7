"""Models + an agreement on how to explain them → affinity and scores, as a result in memory or in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxspace.attribution.cache_key import model_key, run_key
from onnxspace.attribution.devices import resolve_compute
from onnxspace.attribution.explainer import check_options
from onnxspace.attribution.gradient_fields import METHOD
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.methods import configure_options, resolve_settings
from onnxspace.inputs.protocol import GENERATED, Setup
from onnxspace.report.result_folder import place_maps, place_probes, result_folder, write_results
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.selection import ScoreSelection
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import Agreement, Prints, record_of
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.mixed import Matrix, Rows, affinities
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.resume import WorkFolders
from onnxspace.workflows.open import PreparedModel
from onnxspace.workflows.rank import add_certainty, add_scores
from onnxspace.workflows.representations import ComputeMaps, Destination, representations_for
from onnxspace.workflows.run import Run, Turn, task_for

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.client import Cluster
    from onnxspace.workflows.cluster.dispatch import Dispatcher


@dataclass
class ResultSink:
    """The models of one comparison. Their files lie in `folder`, where they are `kept` if the run is interrupted."""

    folder: Path
    kept: bool
    prints: Prints
    steps: int
    records: list[ModelRecord] = field(default_factory=list)
    models: list[Arrays | Fingerprint] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    _written: dict[str, Arrays] = field(default_factory=dict)

    def holds(self, path: Path) -> bool:
        return path in self.prints

    def enter_file(self, path: Path, name: str) -> None:
        self._append(*record_of(self.prints[path], path, name))

    def is_missing(self, model: PreparedModel) -> bool:
        return True

    def enter(self, turn: Turn, model: PreparedModel, run: Run) -> None:
        key = model_key(model.model, model.encoder.tensors)
        if key in self._written:
            run.warnings += model.remarks
        else:
            files = run.write(turn, model, Destination(self.folder, key, self.kept))
            self._written[key] = Arrays(**files, steps=self.steps)
        self._append(model.record, self._written[key])

    def _append(self, record: ModelRecord, model: Arrays | Fingerprint) -> None:
        self.records.append(record)
        self.models.append(model)

    def fail(self, path: Path, error: Exception, sentence: str) -> None:
        self.failed.append(Failure(str(path), sentence))

    def maps(self) -> list[tuple[str, Path]]:
        """The SHA-256 of every model that was explained, and its file of maps."""
        pairs = zip(self.records, self.models, strict=True)
        return [(record.sha256, one.maps) for record, one in pairs if isinstance(one, Arrays) and one.maps is not None]


def score_models(
    paths: Sequence[Path],
    agreement: Agreement,
    encoders: Sequence[str],
    config: Config,
    execution: Execution,
    selection: ScoreSelection,
    output: Path | None,
) -> Affinity:
    """As `onnxspace.score`, where images, method and options are agreed and fingerprints are read."""
    if execution.cluster is None:
        resolve_compute(execution.compute)
    setup = agreement.setup
    check_options([setup.method], setup.options, setup.probes, config.rules)
    setup = replace(setup, options=configure_options(setup.method, setup.options, config.rules))
    with connect_workers(execution.cluster if selection.needs("maps") else None) as workers, ExitStack() as stack:
        elsewhere = None if workers is None else _processors(workers, execution)
        command = None if output is None else run_key(setup, execution, elsewhere)
        work = stack.enter_context(_open_work_folders(output, command, len(setup.probes)))
        sink = ResultSink(work.maps, output is not None, agreement.prints, resolve_settings([METHOD], selection.fields).steps)
        dispatcher = None if workers is None else _make_dispatcher(workers, work.maps, setup, execution)
        kinds = representations_for(selection, setup, execution, compute_on(dispatcher, setup, config))
        counter = Counter(len(paths) * len(setup.probes) * len(kinds), execution.progress)
        run = Run(config, sink, kinds, counter, list(agreement.remarks), dispatcher)
        if dispatcher is not None:
            dispatcher.advance = counter.advance
        run.explain_all(paths, encoders)
        result, kept = _make_result(sink, run.warnings, setup, execution, selection, workers)
        if output is not None and result.models:
            place_maps(work.result / "maps", sink.maps())
            if selection.needs("maps") and GENERATED.fullmatch(setup.probes.name) is None:
                place_probes(work.result, setup.probes.images)
            write_results(work.result, kept)
    return result


def _make_result(
    sink: ResultSink, warnings: Sequence[str], setup: Setup, execution: Execution, selection: ScoreSelection,
    workers: Cluster | None,
) -> tuple[Affinity, Affinity]:  # fmt: skip
    """The result, and the result with the certainty that is kept in a folder."""
    shown = [one.maps or Path() if isinstance(one, Arrays) else one for one in sink.models]
    matrix: Matrix = np.full((len(shown), len(shown)), np.nan)
    errors: Matrix | None = None
    if selection.needs("maps"):
        matrix, errors = affinities(shown, None if workers is None else _rows_on(workers), execution.memory)
    plain = Affinity(
        tuple(sink.records), matrix, setup.method, setup.probe_facts(), tuple(sink.failed), (), setup.stated_options, errors
    )
    models = [one if isinstance(one, Arrays) else Arrays() for one in sink.models]
    found, shares = add_scores(plain, selection, models, len(setup.probes))
    found = replace(found, warnings=(*warnings, *found.warnings))
    return add_certainty(found, selection, shares, shown, execution)


def _rows_on(workers: Cluster) -> Rows:
    """What compares maps on the workers of a cluster."""
    from onnxspace.workflows.cluster.gram import affinity_rows_on

    return partial(affinity_rows_on, workers)


def _processors(workers: Cluster, execution: Execution) -> list[object]:
    from onnxspace.workflows.cluster.worker import list_processors

    return list_processors(workers, execution.compute)


@contextmanager
def connect_workers(cluster: str | None) -> Iterator[Cluster | None]:
    """The workers of a cluster, where one is named. Raises ClusterError."""
    if cluster is None:
        yield None
        return
    from onnxspace.workflows.cluster.client import connect

    with connect(cluster) as found:
        yield found


def _make_dispatcher(workers: Cluster, folder: Path, setup: Setup, execution: Execution) -> Dispatcher:
    from onnxspace.workflows.cluster.dispatch import dispatcher_for

    return dispatcher_for(workers, folder, setup, execution)


def compute_on(dispatcher: Dispatcher | None, setup: Setup, config: Config) -> ComputeMaps | None:
    """Has the workers of a cluster compute maps; None where there are none."""
    if dispatcher is None:
        return None
    return lambda model, writer, _: dispatcher.collect(task_for(model, config), model.model.path, setup, writer)


@contextmanager
def _open_work_folders(output: Path | None, command: str | None, images: int) -> Iterator[WorkFolders]:
    """The folders for maps and for the result: beside the result, or temporary ones."""
    if output is not None and command is not None:
        with result_folder(output, command, images) as work:
            yield work
        return
    with scratch_folder() as folder:
        yield WorkFolders(folder, folder, folder)
