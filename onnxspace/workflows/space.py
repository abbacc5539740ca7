"""The public interface of model spaces: folders to which models are added, and which answer how they are related."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, SpaceError
from onnxspace.exporters.discovery import is_model
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Announce, Compute, Device, Execution, Progress, Share
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import EncoderNames, list_encoders
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import MOST_REDUCED, Detail, Protocol, Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits
from onnxspace.scores.selection import MOST_RANKED
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
    find_order,
    is_fingerprint,
    read_comparable_fingerprint,
)
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.compare import AffinityRow, affinities, affinity_row, certainties
from onnxspace.spaces.create import baseline_of, new_space, probes_of
from onnxspace.spaces.layout import read_prints, read_reduced
from onnxspace.spaces.maintenance import Verification
from onnxspace.spaces.merge import export_fingerprints, merge_space
from onnxspace.spaces.neighbours import DUPLICATE, DuplicateGroups, Neighbour, Query, find_duplicates, find_neighbours
from onnxspace.spaces.packed import build_index
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.workflows.space_ranking import (
    add_model,
    add_rankings,
    choose_candidates,
    explain_candidates,
    keeps_rankings,
)

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
        detail: Detail | None = None,
    ) -> Space:  # fmt: skip
        """Create a space at `path`, where there must be nothing or an empty folder.

        The images `probes` (None: 64 generated ones), `method`, `options` and the rules of `config` apply to every model that is added. Without
        `keep_maps` only fingerprints are kept, and every affinity has a standard error. `detail` is what is kept beside maps, in little:
        `maps` (nothing), `images` (features and outputs, enough to rank sources by answers per image) or `pictures` (enough for outputs
        that are pictures too); None is `pictures`, and `maps` for generated images. Images of up to 1 GiB in all are stored in the
        space. Raises SpaceError, ConfigError for invalid options, OutputError.
        """
        configuration = config if isinstance(config, Config) else find_config(config)
        if (options is not None and options.rules) or configuration.rules:
            from onnxspace.attribution.explainer import check_options as check_rules

            check_rules([method], options, Probes.generate(1, 16), configuration.rules)
        images = Probes.generate() if probes is None else probes
        chosen = choose_detail(images, detail)
        protocol = new_space(Path(path), images, method, options, configuration.rules, keep_maps, chosen)
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
        self, models: str | Path | Sequence[str | Path], *, encoder: EncoderNames = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, cluster: str | None = None, progress: Progress | None = None,
        limits: Limits | str | None = None, pixels: Pixels = None, announce: Announce | None = None,
    ) -> Additions:  # fmt: skip
        """Add models (`.onnx`), which are explained, or fingerprints (`.fp`); each is in the space as soon as it is done.

        `encoder` is a tensor or node name for all models, a sequence of names that are explained together, or a mapping from model to
        either; `config` a configuration or its file;
        `device` a device's name or a `Compute`; `batch_size` the number of images per pass (None: chosen by memory). `probes` are
        needed where the space does not store its images. `cluster` names Dask workers (`local:4`, `tcp://host:8786`) that explain
        models and share the space's folder. `progress` is the callback, `limits` are those of the process that reads models. `pixels`
        is a preset's name (`onnxspace.inputs.pixel_presets`), names by model, or `StatedPixels`; `announce` is called with the
        records of the models before anything is computed. A configuration may have tables for models that are not added now.

        A model that is in the space with the same content, encoder and preprocessing is left unchanged. An interrupted model is resumed
        at its batch, if everything that determines its maps is unchanged. Fingerprints are entered thousands at a time.

        Of several models, those that fail are listed in the result; a single one raises its error: ModelError, SpaceError
        for a fingerprint of another probe set or method. OutputError and ClusterError stop the call.
        """
        paths = [Path(path) for path in ([models] if isinstance(models, str | Path) else models)]
        encoders, configuration = list_encoders(encoder), resolve_config(config, paths, pixels, whole=False)
        maintenance.clear_interrupted(self.path)
        report = AdditionReport()
        try:
            add_fingerprints(self.path, self.protocol, [path for path in paths if is_fingerprint(path)], report, progress)
            if networks := [path for path in paths if not is_fingerprint(path)]:
                from onnxspace.workflows.add_to_space import SpaceSink, add_models

                execution = Execution.on(device, batch_size, progress, cluster=cluster, limits=limits, announce=announce)
                sink = SpaceSink(self.path, self.protocol, report)
                add_models(sink, self.probes(probes), networks, encoders, configuration, execution)
        except BaseException as error:
            report.note(error, self.path)
            raise
        if report.causes and isinstance(models, str | Path):
            raise report.causes[0]
        return report.result()

    def merge(self, other: Space | str | Path, progress: Progress | None = None) -> Additions:
        """Add the models of another space, with their maps where both spaces keep maps; those that are here are left as they are.

        `progress` is called with a model's name, the number of models done, and their total. Raises SpaceError where the other space
        has other images, another method or detail, or a damaged file, and OutputError.
        """
        theirs = other if isinstance(other, Space) else Space.open(other)
        report = AdditionReport()
        try:
            merge_space(self.path, self.protocol, theirs.path, theirs.protocol, theirs.entries(), report, progress)
        except BaseException as error:
            report.note(error, self.path)
            raise
        return report.result()

    def export(
        self, folder: str | Path, names: Sequence[str] | None = None, progress: Progress | None = None
    ) -> tuple[Path, ...]:
        """Write the fingerprints of the models `names` (None: all) to `.fp` files in `folder`, and return the files.

        `progress` as in `merge`. Raises SpaceError for an unknown model or a damaged file, and OutputError.
        """
        entries = self.entries() if names is None else [self._find_entry(name) for name in names]
        return tuple(export_fingerprints(self.path, self.protocol, entries, Path(folder), progress))

    def remove(self, name: str) -> None:
        """Remove the model with this name or path. Raises SpaceError where there is none."""
        maintenance.remove(self.path, self._find_entry(name))

    def holds(self, model: str | Path) -> bool:
        """Return whether a model of the space has this name or path."""
        return self._has(str(model)) or any(entry.path == str(model) for entry in self.entries())

    def name_of(self, model: str) -> str:
        """Return the name of the model with this name or path. Raises SpaceError where there is none."""
        return self._find_entry(model).name

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
        return self._describe(entries, matrix, errors)

    def _describe(
        self, entries: Sequence[CatalogueEntry], matrix: NDArray[np.float64], errors: NDArray[np.float64] | None
    ) -> Affinity:  # fmt: skip
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

    @property
    def ranks_by_use(self) -> bool:
        """Whether sources are ranked by what predicts transfer, as `score` ranks them on pictures, and not by maps alone."""
        return keeps_rankings(self.protocol)

    def compare(
        self, target: str | Path | Fingerprint | None = None, memory: int = DEFAULT_MEMORY, progress: Share | None = None,
        certain: bool = False,
    ) -> Affinity:  # fmt: skip
        """Return affinities and, where the space keeps features and outputs on pictures, rankings by `mean_rank` as `score` has them.

        `target` is the name or path of a model, or a fingerprint or `.fp` file of one that is not in the space, which is then the last
        of the result. With `certain`, rankings by `mean_rank` (of `target` alone where it is given) are resampled. Of up to 100 models all are compared, else `target` with the 99 whose features resemble its outputs most.
        `memory` and `progress` as in `affinity`. Raises SpaceError for an unknown model, and where there are more than 100 models and
        no target.
        """
        entries, given = self.entries(), self._read_given(target)
        own = None if target is None or given is not None else self._find_entry(str(target))
        if target is None and self.ranks_by_use and len(entries) > MOST_RANKED:
            raise SpaceError(
                f"{self.path} has {len(entries)} models, more than {MOST_RANKED}: name the one to rank sources for."
            )
        sources = [entry for entry in entries if own is None or entry.stem != own.stem]
        if self.ranks_by_use and target is not None:
            wanted = given.reduced if given else None if own is None else read_reduced(self.path, own, self.protocol)
            prints = given.prints if given else read_prints(self.path, [own.stem if own else ""], self.protocol)[0]
            chosen = {entry.stem for entry in choose_candidates(self.path, self.protocol, sources, wanted, prints)}
            entries = tuple(entry for entry in entries if entry.stem in chosen or entry is own or entry == own)
        found = self._describe(entries, *affinities(self.path, self.protocol, entries, memory, progress))
        held = [read_reduced(self.path, entry, self.protocol) for entry in entries] if self.ranks_by_use else []
        if given is not None:
            prints = read_prints(self.path, [entry.stem for entry in entries], self.protocol)
            found, held = add_model(found, given, prints, Path(str(target))), [*held, given.reduced]
        if not self.ranks_by_use or len(found.names) < 2:
            return found
        name = found.names[-1] if given is not None else own.name if own is not None else None
        ranked = add_rankings(found, held, (name,) if certain and name else certain)
        return ranked if target is None else explain_candidates(ranked, len(sources))

    def _read_given(self, target: str | Path | Fingerprint | None) -> Fingerprint | None:
        """The fingerprint that `target` is, or the file of one; None where it names a model of the space."""
        if target is None or (not isinstance(target, Fingerprint) and (not is_fingerprint(Path(target)) or self.holds(target))):
            return None
        return read_comparable_fingerprint(self.path, self.protocol, target, find_order(self.path, self.protocol))

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
        warn: Callable[[str], None] | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
        announce: Announce | None = None,
    ) -> tuple[Neighbour, ...]:  # fmt: skip
        """Return the `count` models nearest to `model`: the name of one in the space, a fingerprint, its file, or another model.

        The nearest comes first. Fingerprints are compared, which is fast for any number of models; each affinity has a standard error.
        A model of the space is not its own neighbour. Where there are many fingerprints, the approximate index (see `index`) proposes
        candidates, which may miss about one in twenty, unless `exact`; `warn` is called with a sentence where the index is missing or
        outdated, and with each warning on another model. The other arguments are as in `add`, for another model. Raises SpaceError, and for files ModelError.
        """
        if isinstance(model, Fingerprint) or (is_fingerprint(Path(model)) and not self._has(str(model))):
            prints, own = read_comparable_fingerprint(self.path, self.protocol, model).prints, None
        elif is_model(str(model)) and not self._has(str(model)):
            configuration = resolve_config(config, [Path(model)], pixels, whole=False)
            execution = Execution.on(device, batch_size, progress, limits=limits, announce=announce)
            found, _, warnings = self._explain(Path(model), list_encoders(encoder), configuration, probes, execution)
            prints, own = found.prints, None
            _pass_on(warnings, warn)
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
        probes: Probes | None = None, progress: Progress | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
        announce: Announce | None = None, outputs: bool = True,
    ) -> Explained:  # fmt: skip
        """Explain a model by this space's protocol without adding it, and write its fingerprint to the file `output`.

        Without `outputs` it holds nothing of what the model answers. The other arguments are as in `add`. Returns the fingerprint, the assumptions about the model, and warnings. Raises ModelError,
        OutputError.
        """
        configuration = resolve_config(config, [Path(model)], pixels, whole=False)
        execution = Execution.on(device, batch_size, progress, limits=limits, announce=announce)
        explained = self._explain(Path(model), list_encoders(encoder), configuration, probes, execution)
        found = _drop_outputs(explained, keep=outputs)
        write_fingerprint(Path(output), found[0])
        return found

    def _explain(
        self, model: Path, encoders: Sequence[str], config: Config, probes: Probes | None, execution: Execution
    ) -> Explained:
        from onnxspace.workflows.fingerprint import fingerprint

        options = self.protocol.options_with(None if self.protocol.baseline is None else baseline_of(self.path, self.protocol))
        setup = Setup(self.probes(probes), self.protocol.method, options)
        others = [entry.record() for entry in self.entries()]
        return fingerprint(model, self.protocol, setup, encoders, config, execution, others)

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


def _pass_on(warnings: Sequence[str], warn: Callable[[str], None] | None) -> None:
    for warning in warnings:
        if warn is not None:
            warn(warning)


def fingerprint_file(
    model: str | Path, output: str | Path, probes: Probes, method: Method = DEFAULT_METHOD, *, options: Options | None = None,
    encoder: str | Sequence[str] | None = None, config: Config | str | Path | None = None, device: Compute | Device = "auto",
    batch_size: int | None = None, progress: Progress | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
    announce: Announce | None = None, detail: Detail | None = None, outputs: bool = True,
) -> Explained:  # fmt: skip
    """Explain a model on probe images and write its fingerprint to the file `output`, as `Space.fingerprint` does for a space.

    `detail` is what it holds beside the sketch of maps: `maps` (nothing), `images` (features and outputs in little, enough to rank
    by answers per image) or `pictures` (enough for outputs that are pictures too); None is `pictures`, and `maps` for generated
    images, which no source is ranked on. Without `outputs` it holds nothing of what the model answers. `method` and `options` are those of `onnxspace.score`, the other arguments as in `Space.add`. Returns the fingerprint, the
    assumptions about the model, and warnings. Raises ConfigError, ModelError, OutputError.
    """
    from onnxspace.workflows.fingerprint import fingerprint

    encoders, configuration = list_encoders(encoder), resolve_config(config, [Path(model)], pixels)
    resolve_settings([method], options)
    setup = Setup(probes, method, configure_options(method, options, configuration.rules))
    execution = Execution.on(device, batch_size, progress, limits=limits, announce=announce)
    protocol = setup.protocol(detail=choose_detail(probes, detail))
    found = _drop_outputs(fingerprint(Path(model), protocol, setup, encoders, configuration, execution), keep=outputs)
    write_fingerprint(Path(output), found[0])
    return found


def choose_detail(probes: Probes, requested: Detail | None = None) -> Detail:
    """What is kept beside maps: what is `requested`, else nothing on generated images, which rank no sources.

    Raises ConfigError where more than maps is requested of too many images.
    """
    many = len(probes) > MOST_REDUCED
    if requested not in (None, "maps") and many:
        raise ConfigError(
            f"Features and outputs are kept of up to {MOST_REDUCED} images, not {len(probes)}. Give fewer, or the detail maps."
        )
    return requested or ("pictures" if find_evidence(probes.name) == "pictures" and not many else "maps")


def _drop_outputs(found: Explained, *, keep: bool) -> Explained:
    """The fingerprint without what the model answers, unless that is to be kept."""
    one, assumed, warnings = found
    if keep or one.reduced is None:
        return found
    return replace(one, reduced=one.reduced.without_outputs()), assumed, warnings


def _row_function_for(device: Device) -> RowFunction | None:
    """Return the function that compares maps on a device; None for the CPU, which needs none."""
    if device == "cpu":
        return None
    from onnxspace.attribution.devices import list_devices, resolve_compute
    from onnxspace.similarity.gpu_worker import tile_worker_for

    return partial(affinity_rows, worker=tile_worker_for(list_devices(resolve_compute(device))[0]))
