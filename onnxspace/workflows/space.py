"""The public interface of model spaces: folders to which models are added, and which answer how they are related."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, SpaceError
from onnxspace.exporters.discovery import is_model
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Compute, Device, Execution, Progress, Share
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import list_encoders
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol, Setup
from onnxspace.sandbox.limits import Limits
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.gram import RowFunction, affinity_rows
from onnxspace.similarity.ranking import Linkage, Ranking
from onnxspace.similarity.reliability import find_evidence
from onnxspace.spaces import maintenance
from onnxspace.spaces.add_fingerprints import (
    AdditionReport,
    Additions,
    add_fingerprints,
    is_fingerprint,
    read_comparable_fingerprint,
)
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.compare import AffinityRow, affinities, affinity_row, certainties
from onnxspace.spaces.create import baseline_of, new_space, probes_of
from onnxspace.spaces.layout import read_prints
from onnxspace.spaces.maintenance import Verification
from onnxspace.spaces.neighbours import DUPLICATE, DuplicateGroups, Neighbour, Query, find_duplicates, find_neighbours
from onnxspace.spaces.packed import build_index
from onnxspace.spaces.schema import CatalogueEntry

#: A fingerprint, the assumptions about its model, and warnings.
Explained = tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]


class Space:
    """A folder of models that are explained by the same protocol; made with `create`, opened with `open`.

    `path` is the folder, `protocol` what models are explained with. Several processes may add, remove and read at the same time; each
    call reads the folder anew. Comparing needs neither Torch nor ONNX; only explaining models does.

    >>> space = ox.Space.create("zoo.space")  # doctest: +SKIP
    >>> space.add(["a.onnx", "b.onnx"]).names  # doctest: +SKIP
    ('a', 'b')
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path, self.protocol = path, protocol

    def __repr__(self) -> str:
        return f"<Space {str(self.path)!r}: {self.protocol.method} on {self.protocol.images} images ({self.protocol.probe})>"

    @classmethod
    def create(
        cls, path: str | Path, probes: Probes | None = None, method: Method = DEFAULT_METHOD, *,
        options: Options | None = None, config: Config | str | Path | None = None, keep_maps: bool = True,
    ) -> Space:  # fmt: skip
        """Create a space at `path`, where there must be nothing or an empty folder.

        The images `probes` (None: 64 generated ones), `method`, `options` and the rules of `config` apply to every model that is added. Without
        `keep_maps` only fingerprints are kept, and every affinity has a standard error. Images of up to 1 GiB in all are stored in the
        space. Raises SpaceError, ConfigError for invalid options, OutputError.
        """
        configuration = config if isinstance(config, Config) else find_config(config)
        if (options is not None and options.rules) or configuration.rules:
            from onnxspace.attribution.explainer import check_options as check_rules

            check_rules([method], options, Probes.generate(1, 16), configuration.rules)
        protocol = new_space(
            Path(path), Probes.generate() if probes is None else probes, method, options, configuration.rules, keep_maps
        )
        return cls(Path(path), protocol)

    @classmethod
    def open(cls, path: str | Path) -> Space:
        """Open the space at `path`. Raises SpaceError where there is none, and for one that is damaged or of a newer format."""
        with open_catalogue(Path(path)) as book:
            return cls(Path(path), book.protocol())

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """Return the catalogue's entry of each model, in the order in which they were added. Raises SpaceError."""
        with open_catalogue(self.path) as book:
            if book.protocol() != self.protocol:
                raise SpaceError(f"{self.path} was replaced by another space after it was opened. Open it again.")
            return tuple(book.entries())

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, in the order in which they were added."""
        return tuple(entry.name for entry in self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    def probes(self, given: Probes | None = None) -> Probes:
        """Return the probe images: those stored in the space, generated again, or `given`, which must be the same.

        Raises SpaceError where `given` differs, and where images that are not stored are not given.
        """
        return probes_of(self.path, self.protocol, given)

    def add(
        self, models: str | Path | Sequence[str | Path], *, encoder: str | Mapping[str, str] | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, cluster: str | None = None, progress: Progress | None = None,
        limits: Limits | str | None = None,
    ) -> Additions:  # fmt: skip
        """Add models (`.onnx`), which are explained, or fingerprints (`.fp`); each is in the space as soon as it is done.

        `encoder` is a tensor or node name for all models, or a mapping from model to name; `config` a configuration or its file;
        `device` a device's name or a `Compute`; `batch_size` the number of images per pass (None: chosen by memory). `probes` are
        needed where the space does not store its images. `cluster` names Dask workers (`local:4`, `tcp://host:8786`) that explain
        models and share the space's folder. `progress` is the callback, `limits` are those of the process that reads models.

        A model that is in the space with the same content, encoder and preprocessing is left unchanged. An interrupted model is resumed
        at its batch, if everything that determines its maps is unchanged. Fingerprints are entered thousands at a time.

        Of several models, those that fail are listed in the result; a single one raises its error: ModelError, SpaceError
        for a fingerprint of another probe set or method. OutputError and ClusterError stop the call.
        """
        paths = [Path(path) for path in ([models] if isinstance(models, str | Path) else models)]
        encoders, configuration = _resolve_inputs(encoder, config)
        maintenance.clear_interrupted(self.path)
        report = AdditionReport()
        try:
            add_fingerprints(self.path, self.protocol, [path for path in paths if is_fingerprint(path)], report, progress)
            if networks := [path for path in paths if not is_fingerprint(path)]:
                from onnxspace.workflows.add_to_space import SpaceSink, add_models

                execution = Execution.on(device, batch_size, progress, cluster=cluster, limits=limits)
                sink = SpaceSink(self.path, self.protocol, report)
                add_models(sink, self.probes(probes), networks, encoders, configuration, execution)
        except BaseException as error:
            report.note(error, self.path)
            raise
        if report.causes and isinstance(models, str | Path):
            raise report.causes[0]
        return report.result()

    def remove(self, name: str) -> None:
        """Remove the model with this name or path. Raises SpaceError where there is none."""
        maintenance.remove(self.path, self._find_entry(name))

    def _find_entry(self, name: str) -> CatalogueEntry:
        with open_catalogue(self.path) as book:
            if (found := book.find("name", name)) is not None:
                return found
        entries = self.entries()
        for entry in entries:
            if name == entry.path:
                return entry
        names = ", ".join(entry.name for entry in entries[:20]) + (" …" if len(entries) > 20 else "")
        raise SpaceError(f"{self.path} has no model called {name!r}; there are {names or 'none'}.")

    def affinity(
        self, memory: int = DEFAULT_MEMORY, progress: Share | None = None, cluster: str | None = None, device: Device = "cpu"
    ) -> Affinity:  # fmt: skip
        """Return the affinities of all models, with standard errors where one of two models has a fingerprint only.

        Affinities are cached, so that only new ones are computed; `memory` bounds the bytes of maps held at once; `progress` is called
        with the fraction done. `cluster` names Dask workers that compare whole maps, block by block; `device` is where products are
        computed (`cuda` needs Torch). Raises SpaceError, ClusterError, and ConfigError for a GPU that is not available.
        """
        if cluster is not None and device != "cpu":
            raise ConfigError("The workers of a cluster compare on their CPUs. Leave out --device, or --cluster.")
        entries = self.entries()
        if cluster is None:
            matrix, errors = affinities(self.path, self.protocol, entries, memory, progress, _row_function_for(device))
        else:
            from onnxspace.workflows.cluster.client import connect
            from onnxspace.workflows.cluster.gram import affinity_rows_on

            with connect(cluster) as workers:
                matrix, errors = affinities(
                    self.path, self.protocol, entries, memory, progress, partial(affinity_rows_on, workers)
                )
        records = tuple(entry.record() for entry in entries)
        return Affinity(
            records,
            matrix,
            self.protocol.method,
            self.protocol.probe_facts(),
            options=dict(self.protocol.options),
            errors=errors,
            evidence=find_evidence(self.protocol.probe),
        )

    def rank(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> Ranking:
        """Return the ranking of sources for `target` (a name or path), best first. Raises SpaceError for an unknown model.

        Affinities that are not cached are computed; `memory` and `progress` as in `affinity`.
        """
        return self.row(target, memory, progress).ranking

    def row(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> AffinityRow:
        """Return the affinities of `target` with all models, and the standard error of each; arguments as in `rank`."""
        own, entries = self._find_entry(target), self.entries()
        index = next((i for i, entry in enumerate(entries) if entry.stem == own.stem), None)
        if index is None:
            raise SpaceError(f"{own.name} was removed from {self.path} meanwhile.")
        values = affinity_row(self.path, self.protocol, entries, index, memory, progress)
        return AffinityRow(own.name, tuple(entry.name for entry in entries), *values)

    def certainty(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> Certainty:
        """Return the certainty of the ranking of sources for `target`, by resampling the probe images with a constant seed.

        `memory` and `progress` are as in `rank`. Raises SpaceError for an unknown model, ConfigError where images × models exceed
        `memory`.
        """
        return next(self.certainties([self.rank(target, memory, progress)], memory))

    def certainties(self, rankings: Sequence[Ranking], memory: int = DEFAULT_MEMORY) -> Iterator[Certainty]:
        """Yield the certainty of each of `rankings`, which this space returned; `memory` bounds the bytes held at once."""
        return certainties(self.path, self.protocol, self.entries(), rankings, memory)

    def nearest(
        self, model: str | Path | Fingerprint, count: int = 10, *, encoder: str | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, progress: Progress | None = None, exact: bool = False,
        warn: Callable[[str], None] | None = None, limits: Limits | str | None = None,
    ) -> tuple[Neighbour, ...]:  # fmt: skip
        """Return the `count` models nearest to `model`: the name of one in the space, a fingerprint, its file, or another model.

        The nearest comes first. Fingerprints are compared, which is fast for any number of models; each affinity has a standard error.
        A model of the space is not its own neighbour. Where there are many fingerprints, the approximate index (see `index`) proposes
        candidates, which may miss about one in twenty, unless `exact`; `warn` is called with a sentence where the index is missing or
        outdated. The other arguments are as in `add`, for another model. Raises SpaceError, and for files ModelError.
        """
        if isinstance(model, Fingerprint) or (is_fingerprint(Path(model)) and not self._has(str(model))):
            prints, own = read_comparable_fingerprint(self.path, self.protocol, model).prints, None
        elif is_model(str(model)) and not self._has(str(model)):
            execution = Execution.on(device, batch_size, progress, limits=limits)
            prints, own = self._explain(Path(model), encoder, config, probes, execution)[0].prints, None
        else:
            own = self._find_entry(str(model))
            prints = read_prints(self.path, [own.stem], self.protocol)[0]
        query = Query(prints, count, None if own is None else bytes.fromhex(own.identity), exact)
        return find_neighbours(self.path, self.protocol, query, warn)

    def index(self, progress: Share | None = None) -> int:
        """Build the approximate index of all fingerprints, or add new ones to it; returns the number of models.

        `nearest` and `duplicates` use it where there are many models. `progress` is called with the fraction done. Needs usearch. Raises ConfigError, SpaceError, OutputError.
        """
        return build_index(self.path, self.protocol, progress)

    def _has(self, name: str) -> bool:
        with open_catalogue(self.path) as book:
            return book.find("name", name) is not None

    def fingerprint(
        self, model: str | Path, output: str | Path, *, encoder: str | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, progress: Progress | None = None, limits: Limits | str | None = None,
    ) -> Explained:  # fmt: skip
        """Explain a model by this space's protocol without adding it, and write its fingerprint to the file `output`.

        The other arguments are as in `add`. Returns the fingerprint, the assumptions about the model, and warnings. Raises ModelError,
        OutputError.
        """
        found = self._explain(Path(model), encoder, config, probes, Execution.on(device, batch_size, progress, limits=limits))
        write_fingerprint(Path(output), found[0])
        return found

    def _explain(
        self, model: Path, encoder: str | Sequence[str] | None, config: Config | str | Path | None, probes: Probes | None,
        execution: Execution,
    ) -> Explained:  # fmt: skip
        from onnxspace.workflows.fingerprint import fingerprint

        options = self.protocol.options_with(None if self.protocol.baseline is None else baseline_of(self.path, self.protocol))
        encoders, configuration = _resolve_inputs(encoder, config)
        setup = Setup(self.probes(probes), self.protocol.method, options)
        return fingerprint(model, self.protocol, setup, encoders, configuration, execution)

    def duplicates(
        self, least: float = DUPLICATE, memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> tuple[tuple[str, str, float, float], ...]:
        """Return the pairs of models with an affinity of at least `least`, largest first: name, name, affinity, standard error.

        The same network exported twice has an affinity of nearly 1; in 8 bits, or with weights changed by 1 %, mostly more than the
        default. `memory` and `progress` are as in `affinity`.
        """
        return self.duplicate_groups(least, memory, progress).pairs

    def duplicate_groups(
        self, least: float = DUPLICATE, memory: int = DEFAULT_MEMORY, progress: Share | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> DuplicateGroups:  # fmt: skip
        """Return the pairs of `duplicates`, with its arguments, and the groups of models that they connect.

        Pairs are proposed by fingerprints and decided by maps, so that no matrix of all models is needed; `warn` is called with a
        sentence where an index was used, which may miss pairs.
        """
        return find_duplicates(self.path, self.protocol, self.entries(), least, memory, progress, warn)

    def tree(
        self, linkage: Linkage = "average", memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> NDArray[np.float64]:
        """Return the similarity tree by `linkage` as a SciPy linkage matrix, float64 [models − 1, 4].

        `memory` and `progress` are as in `affinity`. Raises SpaceError for fewer than two models.
        """
        if len(self) < 2:
            raise SpaceError(f"{self.path} has fewer than two models, so there is no tree. Add models.")
        return self.affinity(memory, progress).tree(linkage)

    def verify(self, progress: Progress | None = None) -> Verification:
        """Read all files and report those that differ from what was written.

        `progress` is called with a model's name, the number of models done, and their total.
        """
        return maintenance.verify(self.path, progress)

    def compact(self) -> tuple[int, int]:
        """Remove files that nothing refers to; returns the number of files removed and of bytes freed."""
        return maintenance.compact(self.path)


def fingerprint_file(
    model: str | Path, output: str | Path, probes: Probes, method: Method = DEFAULT_METHOD, *, options: Options | None = None,
    encoder: str | Sequence[str] | None = None, config: Config | str | Path | None = None, device: Compute | Device = "auto",
    batch_size: int | None = None, progress: Progress | None = None, limits: Limits | str | None = None,
) -> Explained:  # fmt: skip
    """Explain a model on probe images and write its fingerprint to the file `output`, as `Space.fingerprint` does for a space.

    `method` and `options` are those of `onnxspace.score`, the other arguments as in `Space.add`. Returns the fingerprint, the
    assumptions about the model, and warnings. Raises ConfigError, ModelError, OutputError.
    """
    from onnxspace.workflows.fingerprint import fingerprint

    encoders, configuration = _resolve_inputs(encoder, config)
    resolve_settings([method], options)
    setup = Setup(probes, method, configure_options(method, options, configuration.rules))
    execution = Execution.on(device, batch_size, progress, limits=limits)
    found = fingerprint(Path(model), setup.protocol(), setup, encoders, configuration, execution)
    write_fingerprint(Path(output), found[0])
    return found


def _row_function_for(device: Device) -> RowFunction | None:
    """Return the function that compares maps on a device; None for the CPU, which needs none."""
    if device == "cpu":
        return None
    from onnxspace.attribution.devices import list_devices, resolve_compute
    from onnxspace.similarity.gpu_worker import tile_worker_for

    return partial(affinity_rows, worker=tile_worker_for(list_devices(resolve_compute(device))[0]))


def _resolve_inputs(
    encoder: str | Mapping[str, str] | Sequence[str] | None, config: Config | str | Path | None
) -> tuple[list[str], Config]:
    """Convert the arguments `encoder` and `config` to values of `--encoder` and a configuration."""
    return list_encoders(encoder), config if isinstance(config, Config) else find_config(config)
