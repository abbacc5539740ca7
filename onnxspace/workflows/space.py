"""The model space as its users see it: a folder that models are added to, and that answers which are related."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, SpaceError
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Compute, Device, Execution, Progress, Share
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import list_encoders
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol, Setup
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.gram import affinity_rows
from onnxspace.similarity.ranking import Linkage, Ranking
from onnxspace.spaces import maintenance as check
from onnxspace.spaces.add_fingerprints import (
    AdditionReport,
    Additions,
    add_fingerprints,
    is_fingerprint,
    read_comparable_fingerprint,
)
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.compare import AffinityRow, Rows, affinities, affinity_row, certainties
from onnxspace.spaces.create import baseline_of, new_space, probes_of
from onnxspace.spaces.layout import read_prints
from onnxspace.spaces.maintenance import Verification
from onnxspace.spaces.neighbours import DuplicateGroups, Neighbour, Query, find_duplicates, find_neighbours
from onnxspace.spaces.packed import build_index
from onnxspace.spaces.schema import CatalogueEntry

#: A fingerprint, what was assumed of its model, and warnings.
Explained = tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]


class Space:
    """A folder of models that were explained alike. Made by `create`, found again by `open`.

    Several processes may add, remove and read at once; every call reads the folder afresh. Comparing needs neither Torch
    nor ONNX: only `add` does.
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
        """A new space at `path`, where nothing or an empty folder is.

        Probe images (None: 64 generated ones), method and options hold for every model that is added. Without `keep_maps`
        only fingerprints are kept, and every affinity has a standard error. Images of up to 1 GiB in all are kept in the
        space. Raises SpaceError, ConfigError for impossible options, OutputError.
        """
        known = config if isinstance(config, Config) else find_config(config)
        if (options is not None and options.rules) or known.rules:
            from onnxspace.attribution.explainer import check_options as check_rules

            check_rules([method], options, Probes.generate(1, 16), known.rules)
        protocol = new_space(
            Path(path), Probes.generate() if probes is None else probes, method, options, known.rules, keep_maps
        )
        return cls(Path(path), protocol)

    @classmethod
    def open(cls, path: str | Path) -> Space:
        """The space at `path`. Raises SpaceError for what is no space, damaged, or of a newer format."""
        with open_catalogue(Path(path)) as book:
            return cls(Path(path), book.protocol())

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """What the catalogue says of each model, in the order in which they were added."""
        with open_catalogue(self.path) as book:
            if book.protocol() != self.protocol:
                raise SpaceError(f"{self.path} is another space than when it was opened. Open it again.")
            return tuple(book.entries())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    def probes(self, given: Probes | None = None) -> Probes:
        """The probe images: those in the space, generated ones again, or `given`, which must be the same.

        Raises SpaceError where they are not.
        """
        return probes_of(self.path, self.protocol, given)

    def add(
        self, models: str | Path | Sequence[str | Path], *, encoder: str | Mapping[str, str] | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, cluster: str | None = None, progress: Progress | None = None,
    ) -> Additions:  # fmt: skip
        """Explain models (`.onnx`) or take fingerprints (`.fp`) in; each is in the space as soon as it is done.

        Fingerprints are entered some thousands at a time. A model that was stopped in its middle goes on at the batch where
        it stopped, where everything that determines its maps is as it was.

        A model that is there with the same content, encoder and preprocessing is left as it is. Of several models those
        that fail are listed; one alone raises its error: ModelError and its kin, SpaceError for a fingerprint of another
        probe set or method. `probes` are needed where the space does not hold its images. `cluster` names Dask workers that
        explain models (`local:4`, `tcp://host:8786`) and see the space's folder. OutputError and ClusterError stop all.
        """
        paths = [Path(path) for path in ([models] if isinstance(models, str | Path) else models)]
        wishes, known = _resolve_inputs(encoder, config)
        check.clear_interrupted(self.path)
        found = AdditionReport()
        try:
            add_fingerprints(self.path, self.protocol, [path for path in paths if is_fingerprint(path)], found, progress)
            if networks := [path for path in paths if not is_fingerprint(path)]:
                from onnxspace.workflows.add_to_space import SpaceSink, add_models

                execution = Execution.on(device, batch_size, progress, cluster=cluster)
                sink = SpaceSink(self.path, self.protocol, found)
                add_models(sink, self.probes(probes), networks, wishes, known, execution)
        except BaseException as error:
            found.note(error, self.path)
            raise
        if found.causes and isinstance(models, str | Path):
            raise found.causes[0]
        return found.result()

    def remove(self, name: str) -> None:
        """Take a model out. Raises SpaceError where none has this name."""
        check.remove(self.path, self._find_entry(name))

    def _find_entry(self, name: str) -> CatalogueEntry:
        with open_catalogue(self.path) as book:
            if (found := book.find("name", name)) is not None:
                return found
        entries = self.entries()
        for entry in entries:
            if name == entry.path:
                return entry
        known = ", ".join(entry.name for entry in entries[:20]) + (" …" if len(entries) > 20 else "")
        raise SpaceError(f"{self.path} has no model called {name!r}; there are {known or 'none'}.")

    def affinity(
        self, memory: int = DEFAULT_MEMORY, progress: Share | None = None, cluster: str | None = None, device: Device = "cpu"
    ) -> Affinity:  # fmt: skip
        """All affinities, and their standard errors where one of two models has a fingerprint only.

        Only what was never computed is computed; `memory` bounds the bytes of maps that are held at once. `cluster` names Dask
        workers that compare whole maps, block by block; `device` says where products are made: a GPU's need Torch. Raises
        SpaceError, ClusterError, and ConfigError for a GPU that is not there.
        """
        if cluster is not None and device != "cpu":
            raise ConfigError("Workers of a cluster compare on their processors: leave out --device, or --cluster.")
        entries = self.entries()
        if cluster is None:
            matrix, errors = affinities(self.path, self.protocol, entries, memory, progress, _rows_on(device))
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
        )

    def rank(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> Ranking:
        """Sources for `target` (a name or a path), best first. Raises SpaceError for a model that is not there.

        Compares it with each model, where the affinity of all is not known yet.
        """
        return self.row(target, memory, progress).ranking

    def row(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> AffinityRow:
        """As `rank`, with the standard error of each affinity."""
        own, entries = self._find_entry(target), self.entries()
        index = next((i for i, entry in enumerate(entries) if entry.stem == own.stem), None)
        if index is None:
            raise SpaceError(f"{own.name} was removed from {self.path} meanwhile.")
        values = affinity_row(self.path, self.protocol, entries, index, memory, progress)
        return AffinityRow(own.name, tuple(entry.name for entry in entries), *values)

    def certainty(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> Certainty:
        """How sure the ranking of the sources for `target` is, from drawing the probe images again; always the same numbers.

        Raises SpaceError for a model that is not there, ConfigError where images × models is over `memory`.
        """
        return next(self.certainties([self.rank(target, memory, progress)], memory))

    def certainties(self, rankings: Sequence[Ranking], memory: int = DEFAULT_MEMORY) -> Iterator[Certainty]:
        """The same for rankings that this space gave, in turn; maps are read for many at once."""
        return certainties(self.path, self.protocol, self.entries(), rankings, memory)

    def nearest(
        self, model: str | Path | Fingerprint, count: int = 10, *, encoder: str | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, progress: Progress | None = None, exact: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> tuple[Neighbour, ...]:  # fmt: skip
        """The `count` models nearest to one of the space (by name), a fingerprint, or a `.fp` or `.onnx` file, best first.

        Compares fingerprints, so that it is quick whatever the number of models; each affinity comes with its standard error.
        A model of the space is not its own neighbour. Where fingerprints are many, their index (see `index`) proposes models,
        and may miss one in some twenty, unless `exact`; `warn` gets a sentence where it is missing or old. Raises SpaceError,
        and for files ModelError and its kin.
        """
        if isinstance(model, Fingerprint) or (is_fingerprint(Path(model)) and not self._has(str(model))):
            prints, own = read_comparable_fingerprint(self.path, self.protocol, model).prints, None
        elif Path(model).suffix.lower() == ".onnx" and not self._has(str(model)):
            prints, own = (
                self._explain(Path(model), encoder, config, probes, Execution.on(device, batch_size, progress))[0].prints,
                None,
            )
        else:
            own = self._find_entry(str(model))
            prints = read_prints(self.path, [own.stem], self.protocol)[0]
        query = Query(prints, count, None if own is None else bytes.fromhex(own.identity), exact)
        return find_neighbours(self.path, self.protocol, query, warn)

    def index(self, progress: Share | None = None) -> int:
        """Make the approximate index of all fingerprints, or add those that came since; gives the number of models.

        `nearest` and `duplicates` use it where models are many. Needs usearch. Raises ConfigError, SpaceError, OutputError.
        """
        return build_index(self.path, self.protocol, progress)

    def _has(self, name: str) -> bool:
        with open_catalogue(self.path) as book:
            return book.find("name", name) is not None

    def fingerprint(
        self, model: str | Path, output: str | Path, *, encoder: str | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, progress: Progress | None = None,
    ) -> Explained:  # fmt: skip
        """Explain a model as this space does, without adding it, and write its fingerprint to the file `output`.

        Gives the fingerprint, what was assumed of the model, and warnings. Raises ModelError and its kin, OutputError.
        """
        found = self._explain(Path(model), encoder, config, probes, Execution.on(device, batch_size, progress))
        write_fingerprint(Path(output), found[0])
        return found

    def _explain(
        self, model: Path, encoder: str | Sequence[str] | None, config: Config | str | Path | None, probes: Probes | None,
        execution: Execution,
    ) -> Explained:  # fmt: skip
        from onnxspace.workflows.fingerprint import fingerprint

        options = self.protocol.options_with(None if self.protocol.baseline is None else baseline_of(self.path, self.protocol))
        wishes, known = _resolve_inputs(encoder, config)
        setup = Setup(self.probes(probes), self.protocol.method, options)
        return fingerprint(model, self.protocol, setup, wishes, known, execution)

    def duplicates(
        self, least: float = 0.98, memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> tuple[tuple[str, str, float, float], ...]:
        """Pairs of affinity `least` or more, most alike first: name, name, affinity, and its standard error.

        The same network exported twice has an affinity of nearly 1; one that was quantised or fine-tuned a little less.
        """
        return self.duplicate_groups(least, memory, progress).pairs

    def duplicate_groups(
        self, least: float = 0.98, memory: int = DEFAULT_MEMORY, progress: Share | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> DuplicateGroups:  # fmt: skip
        """As `duplicates`, in groups of models that such pairs tie together.

        Fingerprints propose pairs and maps decide, so that no matrix of all models is needed; `warn` gets a sentence where an
        index was used, which may miss pairs.
        """
        return find_duplicates(self.path, self.protocol, self.entries(), least, memory, progress, warn)

    def tree(
        self, linkage: Linkage = "average", memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> NDArray[np.float64]:
        """The similarity tree as a SciPy linkage matrix, float64 [models − 1, 4]; from two models on."""
        if len(self) < 2:
            raise SpaceError(f"{self.path} has fewer than two models, and so no tree. Add models.")
        return self.affinity(memory, progress).tree(linkage)

    def verify(self, progress: Progress | None = None) -> Verification:
        """Read every file again and say what is not as it was written."""
        return check.verify(self.path, progress)

    def compact(self) -> tuple[int, int]:
        """Drop what nothing refers to; gives the number of files removed and of bytes won."""
        return check.compact(self.path)


def fingerprint_file(
    model: str | Path, output: str | Path, probes: Probes, method: Method = DEFAULT_METHOD, *, options: Options | None = None,
    encoder: str | Sequence[str] | None = None, config: Config | str | Path | None = None, device: Compute | Device = "auto",
    batch_size: int | None = None, progress: Progress | None = None,
) -> Explained:  # fmt: skip
    """Explain a model on probe images, and write its fingerprint to the file `output`; as `Space.fingerprint` without a space."""
    from onnxspace.workflows.fingerprint import fingerprint

    wishes, known = _resolve_inputs(encoder, config)
    resolve_settings([method], options)
    setup = Setup(probes, method, configure_options(method, options, known.rules))
    execution = Execution.on(device, batch_size, progress)
    found = fingerprint(Path(model), setup.protocol(), setup, wishes, known, execution)
    write_fingerprint(Path(output), found[0])
    return found


def _rows_on(device: Device) -> Rows | None:
    """What compares maps on a device; None on the processor that needs nothing for it."""
    if device == "cpu":
        return None
    from onnxspace.attribution.devices import list_devices, resolve_compute
    from onnxspace.similarity.gpu_worker import tile_worker_for

    return partial(affinity_rows, worker=tile_worker_for(list_devices(resolve_compute(device))[0]))


def _resolve_inputs(
    encoder: str | Mapping[str, str] | Sequence[str] | None, config: Config | str | Path | None
) -> tuple[list[str], Config]:
    """Wishes for encoders as words, and the configuration."""
    wishes = list_encoders(encoder)
    return wishes, config if isinstance(config, Config) else find_config(config)
