"""Models + probes → affinity: the one module in which computing and comparing meet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxspace.attribution.cache_key import model_recipe, recipe
from onnxspace.attribution.devices import chosen
from onnxspace.attribution.explainer import check
from onnxspace.attribution.maps import VERIFIED_IMAGES, map_batches
from onnxspace.errors import AttributionError, ClusterError, OnnxspaceError, OutputError
from onnxspace.inputs.config import Config
from onnxspace.inputs.methods import Compute, Device, Method, Options, configured, resolve_settings
from onnxspace.inputs.names import encoder_words, encoders_for, model_names
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import GENERATED
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model, emptied
from onnxspace.report.result_folder import place_maps, place_probes, result_folder, write_results
from onnxspace.scores.selection import PREDICTIVITY, ScoreSelection
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import Agreement, Prints, record_of
from onnxspace.similarity.gram import DEFAULT_MEMORY
from onnxspace.similarity.mixed import (
    MAX_CERTAIN_MODELS,
    MapsOrFingerprint,
    Matrix,
    affinities,
    with_certainty_of_predictivity,
    with_certainty_of_targets,
)
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter, unit
from onnxspace.storage.resume import JOURNAL, Workplace
from onnxspace.torchgraph.encoder_graph import Converted, convert
from onnxspace.workflows.representations import Besides

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.client import Cluster
    from onnxspace.workflows.cluster.dispatch import Dispatcher, Prefetcher
    from onnxspace.workflows.cluster.worker import ModelTask
from onnxspace.workflows.open import Opened, opened

#: Called with what is being done, and how many of how many map computations are behind.
Progress = Callable[[str, int, int], None]


def score_models(
    models: Sequence[Path],
    agreed: Agreement,
    *,
    encoder: str | Mapping[str, str] | Sequence[str] | None = None,
    config: Config | None = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    output: str | Path | None = None,
    certainty: bool | Sequence[str] = False,
    cluster: str | None = None,
    memory: int = DEFAULT_MEMORY,
    wanted: ScoreSelection | None = None,
    progress: Progress | None = None,
) -> Affinity:
    """As `onnxspace.workflows.score.score`, where images, method and options are agreed and fingerprints read."""
    if cluster is None:
        chosen(device)
    probes, method, known = agreed.probes, agreed.method, config or Config()
    check([method], agreed.options, probes, known.rules)
    options = configured(method, agreed.options, known.rules)
    wishes = encoder_words(encoder)
    want = wanted or ScoreSelection()
    with hired(cluster if want.needs("maps") else None) as crew, ExitStack() as stack:
        elsewhere = None if crew is None else crew.processors(compute_of(device))
        command = None if output is None else recipe(method, options, probes, device, batch_size, elsewhere)
        work = stack.enter_context(_workspace(output, command, len(probes)))
        run = Run(
            probes, method, options, device, batch_size, known, work.maps, output is not None, len(models) * len(probes), progress,
            warnings=list(agreed.remarks), prints=agreed.prints,
        )  # fmt: skip
        if not want.plain:
            run.besides = Besides(
                want, probes, work.maps, output is not None, device, batch_size, run.warnings.append, certainty
            )
            run.total *= run.besides.kinds
        run.send_to(crew)
        run.explain_all(models, wishes)
        result, kept = run.with_certainty(run.compare(memory), certainty, memory)
        if output is not None and result.models:
            place_maps(work.result / "maps", run.maps_shown() if run.explains else [])
            if run.explains and GENERATED.fullmatch(probes.name) is None:
                place_probes(work.result, probes.images)
            write_results(work.result, kept)
    return result


@contextmanager
def hired(cluster: str | None) -> Iterator[Cluster | None]:
    """The workers of a cluster, where one is named."""
    if cluster is None:
        yield None
        return
    from onnxspace.workflows.cluster.client import opened as connected

    with connected(cluster) as found:
        yield found


def compute_of(device: Compute | Device) -> Compute:
    return device if isinstance(device, Compute) else Compute(device)


@contextmanager
def _workspace(output: str | Path | None, command: str | None, images: int) -> Iterator[Workplace]:
    """The folders for maps and for the result: beside the result, or temporary ones."""
    if output is not None and command is not None:
        with result_folder(Path(output), command, images) as work:
            yield work
        return
    with tempfile.TemporaryDirectory(prefix="onnxspace-", ignore_cleanup_errors=True) as name:
        yield Workplace(Path(name), Path(name), Path(name))


@dataclass
class Run:
    """One comparison in progress. Its maps lie in `folder`, where they are `kept` if it is interrupted."""

    probes: Probes
    method: Method
    options: Options | None
    device: Compute | Device
    batch_size: int | None
    config: Config
    folder: Path
    kept: bool
    total: int
    progress: Progress | None
    done: int = 0
    records: list[ModelRecord] = field(default_factory=list)
    shown: list[MapsOrFingerprint] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    known: dict[str, Path] = field(default_factory=dict)
    prints: Prints = field(default_factory=dict)
    crew: Cluster | None = None
    fleet: Dispatcher | None = None
    ahead: Prefetcher[Opened | None] | None = None
    besides: Besides | None = None

    @property
    def explains(self) -> bool:
        """Whether maps are made at all."""
        return self.besides is None or self.besides.maps

    def send_to(self, crew: Cluster | None, images: Path | None = None) -> None:
        """Have maps made by the workers of a cluster, if there is one; `images` is where probe images lie for them already."""
        if crew is not None:
            from onnxspace.workflows.cluster.dispatch import dispatcher_for

            compute = compute_of(self.device)
            self.crew = crew
            self.fleet = dispatcher_for(
                crew, self.folder, self.probes, self.method, self.options, compute, self.batch_size, images
            )
            self.fleet.advance = self._advance

    def explain_all(self, paths: Sequence[Path], encoders: Sequence[str]) -> None:
        names = model_names(paths, self.config)
        wanted = encoders_for(paths, names, encoders)
        turns = list(zip(paths, names, wanted, strict=True))
        self._look_ahead(turns)
        for index, (path, name, encoder) in enumerate(turns):
            try:
                self._explain(path, name, encoder)
            except (OutputError, ClusterError):
                raise
            except OnnxspaceError as error:
                self._fail(path, error, str(error))
            except Exception as error:  # a defect in a library below must not lose the other models' work
                reason = (str(error).splitlines() or [""])[0][:300]
                self._fail(path, error, f"{path} failed unexpectedly ({type(error).__name__}: {reason}).")
            each = len(self.probes) * (1 if self.besides is None else self.besides.kinds)
            self._advance(max(0, (index + 1) * each - self.done), name)

    def _look_ahead(self, turns: Sequence[tuple[Path, str, str | None]]) -> None:
        if self.fleet is not None:
            from onnxspace.workflows.cluster.dispatch import Prefetcher

            self.ahead = Prefetcher(turns, self._begin, self.fleet.width)

    def _begin(self, path: Path, name: str, encoder: str | None) -> Opened | None:
        """Open a model before its turn, and hand it out to the workers."""
        if path in self.prints or self.fleet is None:
            return None
        found = opened(path, name, encoder, self.config)
        if self._is_missing(found):
            self.fleet.start(self._subject(found.model, found.encoder), str(path))
        return replace(found, model=emptied(found.model))

    def _is_missing(self, _found: Opened) -> bool:
        """Whether maps of a model are to be made."""
        return True

    def _opened(self, path: Path, name: str, encoder: str | None) -> Opened:
        found = None if self.ahead is None else self.ahead.take((path, name, encoder))
        return opened(path, name, encoder, self.config) if found is None else found

    def _subject(self, model: Model, encoder: Encoder) -> ModelTask:
        from onnxspace.workflows.cluster.dispatch import task_of

        return task_of(model, encoder, model_recipe(model, encoder.tensors), self.config.options(Path(model.path)))

    def _fail(self, path: Path, _error: Exception, words: str) -> None:
        self.failed.append(Failure(str(path), words))

    def _explain(self, path: Path, name: str, encoder: str | None) -> None:
        self._advance(0, name)
        if path in self.prints:
            self._enter(*record_of(self.prints[path], path, name))
            return
        found = self._opened(path, name, encoder)
        key = model_recipe(found.model, found.encoder.tensors)
        if key not in self.known:
            self.known[key] = self._made_of(found, key, (name, encoder))
        else:
            self.warnings += found.remarks
        self._enter(found.record, self.known[key])

    def _made_of(self, found: Opened, key: str, wish: tuple[str, str | None]) -> Path:
        """Make all that the scores take of a model; gives the file of its maps, which is there where a score takes maps."""
        maps = self.maps_of(found, key) if self.explains else self.folder / f"{key}.npy"
        self.warnings += () if self.explains else found.remarks
        if self.besides is not None:
            model = found.model if self.fleet is None else opened(Path(found.record.path), *wish, self.config).model
            self.besides.add(key, model, found.encoder, lambda images: self._advance(images, found.record.name))
        return maps

    def _enter(self, record: ModelRecord, shown: MapsOrFingerprint) -> None:
        self.records.append(record)
        self.shown.append(shown)

    def maps_shown(self) -> list[tuple[str, Path]]:
        """The SHA-256 of every model that was explained, and its file of maps."""
        return [(record.sha256, one) for record, one in zip(self.records, self.shown, strict=True) if isinstance(one, Path)]

    def maps_of(self, found: Opened, key: str) -> Path:
        """The file of a model's unit maps, named after `key`; what is to be said of them is among the warnings."""
        path = self._maps(found.model, found.encoder, key)
        self.warnings += found.remarks
        return path

    def _maps(self, model: Model, found: Encoder, key: str) -> Path:
        """The file of the model's maps, finished from where an earlier run left it."""
        path, before = self.folder / f"{key}.npy", self.done
        journal = Journal(path.with_suffix(JOURNAL), len(self.probes)) if self.kept else None
        with MapWriter(path, len(self.probes), self.probes.size**2, journal) as writer:
            self._advance(writer.rows, model.name)
            remarks = writer.remarks
            if remarks is None:
                remarks = self._compute_maps(model, found, writer)
            if writer.zeros == len(self.probes):
                self.done = before if self.fleet is None else self.done
                raise AttributionError(
                    f"{model.path}: every map is zero, so its encoder ignores the image. Name another --encoder."
                )
            if writer.remarks is None:
                writer.finish(remarks)
        self.warnings += [f"{model.name}: {remark}" for remark in remarks]
        if writer.zeros:
            self.warnings.append(f"{model.name}: {writer.zeros} of {len(self.probes)} maps are zero; their cosines count as 0.")
        return path

    def _compute_maps(self, model: Model, encoder: Encoder, writer: MapWriter) -> tuple[str, ...]:
        """Append the maps that are not there yet, computed here or by the workers of a cluster."""
        if self.fleet is None:
            return self._write(model, convert(model, self.probes.images[:VERIFIED_IMAGES], encoder), writer)
        return self.fleet.collect(self._subject(model, encoder), model.path, self.method, self.options, writer)

    def _write(self, model: Model, converted: Converted, writer: MapWriter) -> tuple[str, ...]:
        """Append the maps that are not there yet, in batches of the size of those that are; gives the engine's remarks."""
        remarks: list[str] = []
        errors = list(writer.errors)
        for maps in map_batches(
            model, converted, self.probes, self.method, self.device, writer.batch or self.batch_size,
            options=self.options, warn=remarks.append, first=writer.rows, errors=errors,
        ):  # fmt: skip
            writer.append(unit(maps)[0], errors[writer.rows : writer.rows + len(maps)])
            self._advance(len(maps), model.name)
        return tuple(remark.removeprefix(f"{model.name}: ") for remark in remarks)

    def _advance(self, images: int, name: str) -> None:
        self.done += images
        if self.progress is not None:
            self.progress(name, self.done, self.total)

    def compare(self, memory: int = DEFAULT_MEMORY) -> Affinity:
        matrix, errors = self._affinities(memory)
        probe = {"name": self.probes.name, "images": len(self.probes), "size": self.probes.size, "sha256": self.probes.sha256}
        told = resolve_settings([self.method], self.options).used_by(self.method)
        found = Affinity(tuple(self.records), matrix, self.method, probe, tuple(self.failed), (), told, errors)
        found = found if self.besides is None else self.besides.scored(found, self.shown)
        return replace(found, warnings=(*self.warnings, *found.warnings))

    def with_certainty(self, found: Affinity, targets: bool | Sequence[str], memory: int) -> tuple[Affinity, Affinity]:
        """With the certainty that is asked for, and as it is kept: with that of every ranking by predictivity, of models not too many."""
        if self.besides is None or found.ranks_by != PREDICTIVITY:
            told = with_certainty_of_targets(found, self.shown, targets, self.progress, memory)
            return told, told
        known = self.besides.known
        everyone = True if len(found.names) <= MAX_CERTAIN_MODELS else targets
        return with_certainty_of_predictivity(found, targets, known), with_certainty_of_predictivity(found, everyone, known)

    def _affinities(self, memory: int) -> tuple[Matrix, Matrix | None]:
        if not self.explains:
            return np.full((len(self.shown), len(self.shown)), np.nan), None
        return affinities(self.shown, None if self.crew is None else self.crew.affinity_rows, memory)
