"""Adding models to a space: each is explained by the space's protocol, sketched to a fingerprint, and entered on its own."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.labels import Labels
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol, installed_versions
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.similarity.records import ModelRecord
from onnxspace.spaces.add_fingerprints import AdditionReport
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.complete import lacks_something
from onnxspace.spaces.create import baseline_of
from onnxspace.spaces.insert import NO_STEM, NO_SUM, add_labels, current_time, find_existing, insert_model
from onnxspace.spaces.layout import PROBES
from onnxspace.spaces.schema import CatalogueEntry, identity_of
from onnxspace.spaces.workdirs import resume_workbench
from onnxspace.storage.atomic import write_array, write_file
from onnxspace.storage.journal import Journal
from onnxspace.storage.resume import JOURNAL
from onnxspace.storage.short_text import count as number
from onnxspace.workflows.ahead import open_ahead
from onnxspace.workflows.files import representations_for
from onnxspace.workflows.fingerprint import prints_of, reduce_files, selection_for
from onnxspace.workflows.requests import DescribedModel, Destination
from onnxspace.workflows.run import Run, Turn
from onnxspace.workflows.session import open_session
from onnxspace.workflows.workers import collect_from, connect_workers, describe_workers, make_dispatcher

_LIBRARIES = ("onnxspace", "torch", "numpy", "onnx", "onnx2torch", "pillow")


@dataclass
class SpaceSink:
    """The sink of models that enter the space at `home`.

    `protocol` is the space's, `report` collects the outcome for each model, `labels` are stated for all of them; `run_key` is the digest of everything besides the model
    that determines maps (see `cache_key.run_key`), `images` are the probe images, uint8 [images, size, size, 3].
    """

    home: Path
    protocol: Protocol
    report: AdditionReport
    labels: Labels = field(default_factory=Labels)
    run_key: str = ""
    images: NDArray[np.uint8] | None = None

    def has_read(self, path: Path) -> bool:
        return False

    def enter_file(self, path: Path, name: str) -> None:
        raise NotImplementedError  # fingerprints enter a space in bulk, see `add_fingerprints`

    def is_missing(self, model: DescribedModel) -> bool:
        return self._find_existing(draft_of(model)) is None

    def enter(self, turn: Turn, model: DescribedModel, run: Run) -> None:
        draft = replace(draft_of(model), labels=self.labels.over(model.labels))
        existing = self._find_existing(draft)
        if existing is not None:
            self.report.labelled += add_labels(self.home, [(existing, draft.labels)])
        entry, new = self._insert(model, draft, run) if existing is None else (existing, False)
        self.report.record_entered(turn[0], entry, new)

    def fail(self, path: Path, error: Exception, sentence: str) -> None:
        self.report.record_failure(path, error, sentence)

    def _find_existing(self, draft: CatalogueEntry) -> CatalogueEntry | None:
        found = self._find(draft)
        return None if found is not None and self._is_poorer(draft, found) else found

    def _find(self, draft: CatalogueEntry) -> CatalogueEntry | None:
        with open_catalogue(self.home) as book:
            return find_existing(book, draft, keep_maps=self.protocol.keep_maps)

    def _find_poorer(self, draft: CatalogueEntry) -> str:
        """The stem of the fingerprint that the model replaces, or nothing."""
        found = self._find(draft)
        return found.stem if found is not None and self._is_poorer(draft, found) else ""

    def _is_poorer(self, draft: CatalogueEntry, found: CatalogueEntry) -> bool:
        """Whether the model is there as a fingerprint that lacks features or outputs, which the file would add."""
        return draft.identity != found.identity and lacks_something(self.home, self.protocol, found)

    def _insert(self, model: DescribedModel, draft: CatalogueEntry, run: Run) -> tuple[CatalogueEntry, bool]:
        """Explain and enter a model; an interrupted computation is resumed if everything that determines its maps is unchanged."""
        with resume_workbench(self.home, draft.identity[:32], self.run_key) as (folder, kept):
            try:
                return self._explain(model, draft, run, Destination(folder, self.run_key, kept))
            except BaseException:
                self.report.kept = self._describe_kept(draft.name, folder) if kept else ""
                raise

    def _describe_kept(self, name: str, folder: Path) -> str:
        """Describe the maps that are kept for the next run."""
        journal = Journal(folder / f"{self.run_key}{JOURNAL}", self.protocol.images)
        count = sum(shard.rows for shard in journal.shards)
        return f"{number(count, 'map')} of {name}" if count else ""

    def _explain(self, model: DescribedModel, draft: CatalogueEntry, run: Run, to: Destination) -> tuple[CatalogueEntry, bool]:
        before = len(run.warnings)
        try:
            files = run.write(model, to)
        except OutputError as error:
            reason = os.strerror(error.errno or 0)
            raise OutputError(
                error.errno,
                f"The maps of {draft.name} can't be written to {self.home} ({reason}). Free some disk space, and add the model again.",
            ) from error
        prints, maps = to.folder / f"{self.run_key}.prints.npy", files["maps"]
        write_array(prints, prints_of(maps, self.protocol))
        held = reduce_files(self.protocol, self.images, files, run.lost)
        if held is not None:
            write_file(reduced := to.folder / f"{self.run_key}.reduced.bin", pack(held))
        draft = replace(draft, warnings=tuple(run.warnings[before:]))
        kept = maps if self.protocol.keep_maps else None
        return insert_model(self.home, draft, prints, kept, None if held is None else reduced, self._find_poorer(draft))


def add_models(
    sink: SpaceSink, probes: Probes, paths: Sequence[Path], encoders: Sequence[str], config: Config, execution: Execution
) -> None:
    """Explain models, in this process or on a cluster, and enter each into the sink's space as soon as it is done.

    `probes` are the space's images, `encoders` values of `--encoder`. Models that fail are in the sink's report. Raises ConfigError,
    OutputError, ClusterError.
    """
    protocol = sink.protocol
    setup = protocol.setup(probes, None if protocol.baseline is None else baseline_of(sink.home, protocol))
    with open_session(execution) as session, connect_workers(execution.cluster) as workers, ExitStack() as stack:
        images = sink.home / PROBES if (sink.home / PROBES).is_file() else None
        session.place(setup, images)
        session.check([setup.method], setup, {}, device=False)
        sink.run_key = session.make_run_key(setup, describe_workers(workers, execution))
        folder = sink.home
        if workers is not None:
            folder, _ = stack.enter_context(resume_workbench(sink.home, 2 * sink.run_key, ""))  # chunks of all models
        selection, sink.images = selection_for(protocol), probes.images
        counter = Counter(len(paths) * len(probes) * len(selection.kinds), execution.progress)
        dispatcher = make_dispatcher(workers, folder, setup, execution, counter, images)
        kinds = representations_for(selection, setup, execution, session, collect_from(dispatcher, setup))
        run = Run(
            session,
            config,
            sink,
            kinds,
            counter,
            sink.report.warnings,
            dispatcher,
            announce=execution.announce,
            find_others=partial(list_records, sink.home),
            ahead=stack.enter_context(open_ahead(session, execution, setup, len(paths))),
        )
        run.explain_all(paths, encoders)


def list_records(home: Path, architectures: Collection[str]) -> list[ModelRecord]:
    """The records of the models of a space that have one of these architectures."""
    with open_catalogue(home) as book:
        return [entry.record() for entry in book.list_with_architectures(architectures)]


def draft_of(model: DescribedModel) -> CatalogueEntry:
    """Return the catalogue's entry of a model, without the facts about its files."""
    record, feed = model.record, model.feed
    return CatalogueEntry(
        record.name, NO_STEM, identity_of(record.sha256, record.encoder, feed), record.sha256, record.path, record.encoder,
        record.input, feed, record.opset, record.producer, NO_SUM, assumed=record.assumed,
        versions=installed_versions(_LIBRARIES), added=current_time(), pixels=record.pixels, labels=model.labels,
    )  # fmt: skip
