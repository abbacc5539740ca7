"""The public interface of model spaces: folders to which models are added, and which answer how they are related."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OnnxspaceError, SpaceError
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import (
    DEFAULT_MEMORY,
    Announce,
    Compute,
    Device,
    Execution,
    Progress,
    Share,
)
from onnxspace.inputs.labels import Labels, accept_labels
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import EncoderNames, list_encoders
from onnxspace.inputs.precision import KEPT_PRECISIONS, KeptPrecision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Detail, Protocol, Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import Target as AttributionTarget
from onnxspace.inputs.targets import to_target
from onnxspace.sandbox.limits import Limits
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.ranking import Linkage, Ranking
from onnxspace.spaces import maintenance
from onnxspace.spaces.add_fingerprints import Additions
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.compare import AffinityRow
from onnxspace.spaces.create import new_space, probes_of
from onnxspace.spaces.damage import ReportDamage
from onnxspace.spaces.display import render_entries, tabulate_entries
from onnxspace.spaces.maintenance import Verification
from onnxspace.spaces.merge import export_fingerprints
from onnxspace.spaces.neighbours import DUPLICATE, DuplicateGroups, Neighbour
from onnxspace.spaces.probe_sets import create_set, list_sets
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.where import Note, Where, parse_where
from onnxspace.storage.short_text import count as count_models
from onnxspace.workflows.fingerprint_file import Explained, choose_detail, choose_labels, drop_outputs
from onnxspace.workflows.opened_space import comparing, contents, searching, sets
from onnxspace.workflows.opened_space.view import OpenedSpace
from onnxspace.workflows.space_ranking import Comparing, keeps_rankings, list_neighbours

#: What `nearest` searches: models whose maps are alike, or models to start from.
NearestBy = Literal["kin", "use"]


class Space:
    """A folder of models that are explained by the same protocol; made with `create`, opened with `open`.

    `path` is the folder, `protocol` what models are explained with. Several processes may add, remove and read at the same time; each
    call reads the folder anew. Comparing needs neither Torch nor ONNX; only explaining models does.

    >>> space = ox.Space.create("zoo.space")  # doctest: +SKIP
    >>> space.add(["a.onnx", "b.onnx"]).names  # doctest: +SKIP
    ('a', 'b')
    """

    def __init__(
        self, path: Path, protocol: Protocol, damaged: ReportDamage | None = None, chosen: Where | None = None
    ) -> None:
        self.path, self.protocol = path, protocol
        self._opened = OpenedSpace(path, protocol, damaged, chosen)

    @classmethod
    def _of(cls, opened: OpenedSpace) -> Space:
        return cls(opened.path, opened.protocol, opened.damaged, opened.chosen)

    def __repr__(self) -> str:
        try:
            with open_catalogue(self.path) as book:
                models = count_models(book.count(), "model")
        except OnnxspaceError:  # whoever looks at a space that was removed or damaged gets the reason from other methods
            models = "models that can't be read"
        chosen = ", of which some are chosen" if self._opened.chosen is not None else ""
        probe = f"{count_models(self.protocol.images, 'image')} ({self.protocol.probe})"
        return f"<Space {str(self.path)!r}: {models}{chosen}, {self.protocol.method} on {probe}>"

    def _repr_html_(self) -> str:
        """The models as a table, for notebooks."""
        return render_entries(repr(self).strip("<>"), self.entries())

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per model, in the order in which they were added.

        Columns are `name`, `path`, `sha256`, `encoder`, `opset`, `producer`, `maps` (whether they are kept), `added` (a time), `license`,
        `source`, `framework` and `tags` (a tuple), as in `onnxspace space list --json`. Raises SpaceError, and MissingLibraryError
        where pandas is not installed.

        >>> space.to_dataframe().groupby("license").size()  # doctest: +SKIP
        """
        return tabulate_entries(self.entries())

    @classmethod
    def create(
        cls, path: str | Path, probes: Probes | None = None, method: Method = DEFAULT_METHOD, *,
        options: Options | None = None, config: Config | str | Path | None = None, keep_maps: bool = True,
        detail: Detail | None = None, explained: AttributionTarget | str | int | None = None, precision: KeptPrecision = "float32",
    ) -> Space:  # fmt: skip
        """Create a space at `path`, where there must be nothing or an empty folder.

        The images `probes` (None: 64 generated ones), `method`, `options` and the rules of `config` apply to every model that is added. Without
        `keep_maps` only fingerprints are kept, and every affinity has a standard error. `detail` is what is kept beside maps, in little:
        `maps` (nothing), `images` (features and outputs, enough to rank sources by answers per image) or `pictures` (enough for outputs
        that are pictures too); None is `pictures`, and `maps` for generated images. `explained` (a class, its name or its number) is what maps are of
        in every model instead of its encoder, `precision` that of their products (`float32`, `bf16`, `fp16`, `tf32`). Images of up to 1 GiB in all are stored in the space. Raises SpaceError, ConfigError for invalid options, OutputError.

        >>> space = ox.Space.create("zoo.space", ox.Probes.from_folder("photos"))  # doctest: +SKIP
        """
        configuration = config if isinstance(config, Config) else find_config(config)
        if (options is not None and options.rules) or configuration.rules:
            from onnxspace.attribution.explainer import check_options as check_rules

            check_rules([method], options, Probes.generate(1, 16), configuration.rules)
        images = Probes.generate() if probes is None else probes
        chosen = choose_detail(images, detail)
        resolve_settings([method], options)
        if precision not in KEPT_PRECISIONS:
            raise ConfigError(
                f"The maps of a space have one precision, and {precision!r} is none. Give one of {', '.join(KEPT_PRECISIONS)}."
            )
        described = configure_options(method, options, configuration.rules)
        setup = Setup(images, method, described, to_target(explained), precision)
        protocol = new_space(Path(path), setup, keep_maps, chosen)
        return cls(Path(path), protocol)

    @classmethod
    def open(cls, path: str | Path, *, damaged: ReportDamage | None = None) -> Space:
        """Open the space at `path`.

        `damaged` is called with the `Failure` (path, error) of each model whose files are missing or damaged, when it is to be
        compared or exported, and which is then left out; without it, such a model raises SpaceError. Raises SpaceError where there is
        no space, and for one that is damaged itself or of a newer format.

        >>> space = ox.Space.open("zoo.space")  # doctest: +SKIP
        """
        with open_catalogue(Path(path)) as book:
            return cls(Path(path), book.protocol(), damaged)

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """Return the catalogue's entry of each model, in the order in which they were added. Raises SpaceError.

        >>> space.entries()[0].encoder  # doctest: +SKIP
        '/flatten'
        """
        return self._opened.entries()

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, in the order in which they were added."""
        return tuple(entry.name for entry in self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    def probes(self, given: Probes | None = None) -> Probes:
        """Return the probe images: those stored in the space, generated again, or `given`, which must be the same.

        Raises SpaceError where `given` differs, and where images that are not stored are not given.

        >>> space.probes().images.shape  # doctest: +SKIP
        (64, 224, 224, 3)
        """
        return probes_of(self.path, self.protocol, given)

    def add(
        self, models: str | Path | Sequence[str | Path], *, encoder: EncoderNames = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, cluster: str | None = None, progress: Progress | None = None,
        limits: Limits | str | None = None, pixels: Pixels = None, announce: Announce | None = None,
        license: str | None = None, tags: str | Sequence[str] = (),  # noqa: A002
    ) -> Additions:  # fmt: skip
        """Add `models` (`.onnx`), which are explained, or fingerprints (`.fp`); each is in the space as soon as it is done.

        `encoder` is a tensor or node name for all models, a sequence of names that are explained together, or a mapping from model to
        either; `config` a configuration or its file;
        `device` a device's name or a `Compute`, whose precision, where it states one, must be that of the space; `batch_size` the number of images per pass (None: chosen by memory). `probes` are
        needed where the space does not store its images. `cluster` names Dask workers (`local:4`, `tcp://host:8786`) that explain
        models and share the space's folder. `progress` is the callback, `limits` are those of the process that reads models. `pixels`
        is a preset's name (`onnxspace.inputs.pixel_presets`), names by model, or `StatedPixels`; `announce` is called with the
        records of the models before anything is computed. `license` and `tags` are stated for all models, beside what their files and
        the configuration state, also for models that are in the space already. A configuration may have tables for models that are not added now.

        A model that is in the space with the same content, encoder and preprocessing is left unchanged. An interrupted model is resumed
        at its batch, if everything that determines its maps is unchanged. Fingerprints are entered thousands at a time.

        Of several models, those that fail are listed in the result; a single one raises its error. Raises ModelError, SpaceError
        for a fingerprint of another probe set or method. OutputError and ClusterError stop the call.

        >>> space.add(["a.onnx", "b.fp"], license="apache-2.0").names  # doctest: +SKIP
        ('a', 'b')
        """
        paths = [Path(path) for path in ([models] if isinstance(models, str | Path) else models)]
        encoders, configuration = list_encoders(encoder), resolve_config(config, paths, pixels, whole=False)
        labels = accept_labels(license, tags)
        execution = self._opened.follow(
            Execution.on(device, batch_size, progress, cluster=cluster, limits=limits, announce=announce)
        )
        report = contents.add(self._opened, paths, encoders, configuration, probes, labels, execution)
        if report.causes and isinstance(models, str | Path):
            raise report.causes[0]
        return report.result()

    def merge(self, other: Space | str | Path, progress: Progress | None = None) -> Additions:
        """Add the models of the space `other`, with their maps where both spaces keep maps; those that are here are left as they are.

        Models whose files are damaged there are listed as failed. `progress` is called with a model's name, the number of models done,
        and their total. Further sets of probe images are merged where both have them, and named in a warning else. Raises SpaceError
        where the other space has other images, another method or detail, and OutputError.

        >>> space.merge("other.space").names  # doctest: +SKIP
        ('c',)
        """
        theirs = other if isinstance(other, Space) else Space.open(other)
        return contents.merge(self._opened, theirs._opened, progress)

    def export(
        self, folder: str | Path, names: Sequence[str] | None = None, progress: Progress | None = None, labels: bool = True
    ) -> tuple[Path, ...]:
        """Write the fingerprints of the models `names` (None: all) to `.fp` files in `folder`, and return the files.

        Without `labels` they have neither licence, source nor tags. `progress` as in `merge`. Raises SpaceError for an unknown model or a damaged file, and OutputError.

        >>> space.export("prints", ["a"])  # doctest: +SKIP
        (PosixPath('prints/a.fp'),)
        """
        entries = self.entries() if names is None else [self._opened.find_entry(name) for name in names]
        damaged = self._opened.damaged
        return tuple(export_fingerprints(self.path, self.protocol, entries, Path(folder), progress, damaged, labels=labels))

    def tag(
        self, names: str | Sequence[str], add: str | Sequence[str] = (), remove: str | Sequence[str] = (), *,
        license: str | None = None,  # noqa: A002
    ) -> int:  # fmt: skip
        """`add` tags to the models `names` (names or paths), `remove` others, and state their `license` (None: as it is), all at once, in all sets.

        Returns the number of models whose labels are others now. Raises SpaceError for an unknown model, ConfigError for what is no tag or no licence, OutputError.

        >>> space.tag("a", add=["detector"], remove="draft", license="mit")  # doctest: +SKIP
        1
        """
        labels, gone = accept_labels(license, add), set(accept_labels(None, remove).tags)
        return contents.label(self._opened, [names] if isinstance(names, str) else names, labels, gone)

    def where(self, *conditions: str, note: Note | None = None) -> Space:
        """Return this space with the models for which all `conditions` hold, such as `license=mit and tag=detector`.

        They are what is listed, compared, ranked and exported; the target of a ranking may be another model. Raises ConfigError for
        a condition that can't be read; a key that no model has raises it when the models are chosen. Where no model is, `note` is called
        with a sentence for each value that no model has.

        >>> space.where("license=apache-2.0 or license=mit", "framework=pytorch").names  # doctest: +SKIP
        ('a',)
        """
        return Space._of(replace(self._opened, chosen=parse_where(conditions, note) if conditions else None))

    def remove(self, name: str) -> None:
        """Remove the model with this `name` or path, from all sets of probe images (see `open_sets`).

        Raises SpaceError where there is none.

        >>> space.remove("a")  # doctest: +SKIP
        """
        contents.remove(self._opened, name)

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the sets of probe images, `default` first."""
        return list_sets(self.path)

    def open_set(self, name: str) -> Space:
        """Return the set of probe images `name` as a space. Raises SpaceError where there is none.

        >>> space.open_set("outdoors").rank("a")  # doctest: +SKIP
        """
        opened = sets.open_set(self._opened, name)
        return self if opened is self._opened else Space._of(opened)

    def add_set(self, name: str, probes: Probes, detail: Detail | None = None) -> Space:
        """Add an empty set `name` of the probe images `probes`, by which models are explained as by the others; `detail` is as in `create`.

        Returns it as a space. Older versions of onnxspace can't read the space any more. Raises SpaceError, OutputError.

        >>> space.add_set("outdoors", ox.Probes.from_folder("outdoors"))  # doctest: +SKIP
        """
        create_set(self.path, self.protocol, name, probes, choose_detail(probes, detail))
        return self.open_set(name)

    def rank_sets(self, pictures: Probes) -> tuple[tuple[str, float], ...]:
        """Return the names of the sets of probe images with their distance to `pictures`, nearest first.

        It is the energy distance of colours, spectra and edges (`onnxspace.inputs.image_statistics`), which needs no network and no
        labels. Raises SpaceError where a set has neither images nor statistics.

        >>> space.rank_sets(ox.Probes.from_folder("task"))[0]  # doctest: +SKIP
        ('outdoors', 0.13)
        """
        return sets.rank_sets(self._opened, pictures)

    def open_sets(self) -> dict[str, Space]:
        """Return the sets of probe images by name, `default` first.

        One that is damaged is left out where damage is reported (see `open`), and raises SpaceError else.

        >>> list(space.open_sets())  # doctest: +SKIP
        ['default', 'outdoors']
        """
        return {name: Space._of(one) for name, one in sets.open_sets(self._opened).items()}

    def holds(self, model: str | Path) -> bool:
        """Return whether a model of the space has the name or path `model`. Raises SpaceError for a damaged space.

        >>> space.holds("models/a.onnx")  # doctest: +SKIP
        True
        """
        return self._opened.holds(model)

    def name_of(self, model: str) -> str:
        """Return the name of the model with the name or path `model`. Raises SpaceError where there is none.

        >>> space.name_of("models/a.onnx")  # doctest: +SKIP
        'a'
        """
        return self._opened.find_entry(model).name

    def affinity(
        self, memory: int = DEFAULT_MEMORY, progress: Share | None = None, cluster: str | None = None, device: Device = "cpu"
    ) -> Affinity:  # fmt: skip
        """Return the affinities of all models, with standard errors where one of two models has a fingerprint only.

        Affinities are cached, so that only new ones are computed; `memory` bounds the bytes of maps held at once; `progress` is called
        with the fraction done. `cluster` names Dask workers that compare whole maps, block by block; `device` is where products are
        computed (`cuda` needs Torch). Raises SpaceError, ClusterError, and ConfigError for a GPU that is not available.

        >>> space.affinity().to_dataframe()  # doctest: +SKIP
        """
        return comparing.compare_all(self._opened, memory, progress, cluster, device)

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
        of the result. With `certain`, rankings by `mean_rank` (of `target` alone where it is given) are resampled. Of up to 100 models all are compared, else `target` with the 99 that are estimated to be the best sources.
        `memory` and `progress` as in `affinity`. Raises SpaceError for an unknown model, and where there are more than 100 models and
        no target.

        >>> space.compare("a").rank("a").sources  # doctest: +SKIP
        (('b', 0.9), ('c', 0.4))
        """
        return searching.compare(self._opened, target, Comparing(memory, progress, certain))

    def rank(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> Ranking:
        """Return the ranking of sources for `target` (a name or path), best first. Raises SpaceError for an unknown model.

        Affinities that are not cached are computed; `memory` and `progress` as in `affinity`.

        >>> space.rank("a").sources[:2]  # doctest: +SKIP
        (('b', 0.71), ('c', 0.12))
        """
        return self.row(target, memory, progress).ranking

    def row(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> AffinityRow:
        """Return the affinities of `target` with all models, and the standard error of each; arguments are as in `rank`.

        Raises SpaceError for an unknown model.

        >>> space.row("a").sources[0]  # name, affinity, standard error  # doctest: +SKIP
        ('b', 0.71, 0.0)
        """
        return comparing.compare_one(self._opened, target, memory, progress)

    def certainty(self, target: str, memory: int = DEFAULT_MEMORY, progress: Share | None = None) -> Certainty:
        """Return the certainty of the ranking of sources for `target`, by resampling the probe images with a constant seed.

        `memory` and `progress` are as in `rank`. Raises SpaceError for an unknown model, ConfigError where images × models exceed
        `memory`.

        >>> space.certainty("a").settled  # doctest: +SKIP
        41
        """
        return next(self.certainties([self.rank(target, memory, progress)], memory))

    def certainties(self, rankings: Sequence[Ranking], memory: int = DEFAULT_MEMORY) -> Iterator[Certainty]:
        """Yield the certainty of each of `rankings`, which this space returned; `memory` bounds the bytes held at once.

        Raises SpaceError for a damaged space, ConfigError where images × models exceed `memory`.

        >>> [one.settled for one in space.certainties([space.rank("a"), space.rank("b")])]  # doctest: +SKIP
        [41, 12]
        """
        return comparing.resample(self._opened, rankings, memory)

    def nearest(
        self, model: str | Path | Fingerprint, count: int = 10, *, by: NearestBy = "kin",
        encoder: str | Sequence[str] | None = None, config: Config | str | Path | None = None, device: Compute | Device = "auto",
        batch_size: int | None = None, probes: Probes | None = None, progress: Progress | None = None, exact: bool = False,
        warn: Callable[[str], None] | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
        announce: Announce | None = None,
    ) -> tuple[Neighbour, ...]:  # fmt: skip
        """Return the `count` models nearest to `model`: the name of one in the space, a fingerprint, its file, or another model.

        `by` is `kin`, models whose maps are alike, or `use`, models to start from for its task, in the order of `sources`. The nearest
        comes first. Fingerprints are compared, which is fast for any number of models; each affinity has a standard error.
        A model of the space is not its own neighbour. Where there are many fingerprints, the approximate index (see `index`) proposes
        candidates, which may miss about one in twenty, unless `exact`; `warn` is called with a sentence where the index is missing or
        outdated, and with each warning on another model. The other arguments are as in `add`, for another model. Raises SpaceError, and for files ModelError.

        >>> space.nearest("new.onnx", 5)[0].name  # doctest: +SKIP
        'a'
        """
        execution = self._opened.follow(Execution.on(device, batch_size, progress, limits=limits, announce=announce))
        explaining = searching.Explaining(encoder, config, execution, probes, pixels)
        target = searching.find_target(self._opened, model, explaining, warn)
        if by == "use":
            return list_neighbours(searching.search_sources(self._opened, target, exact, warn), count)
        return searching.search_kin(self._opened, target, count, exact, warn)

    def sources(
        self, model: str | Path | Fingerprint, *, encoder: str | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, progress: Progress | None = None, exact: bool = False,
        warn: Callable[[str], None] | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
        announce: Announce | None = None,
    ) -> Affinity:  # fmt: skip
        """Return the ranking of models to start from for the task of `model`, the last of the result, as `compare` has it.

        Of more than 100 models, those are ranked that are estimated to be the best of all, 99 of them; a warning says so. Affinities are those of fingerprints.
        Arguments are as in `nearest`. Raises SpaceError for a space that keeps maps only or has generated images, and for files ModelError.

        >>> space.sources("new.onnx").rank("new").sources[0]  # doctest: +SKIP
        ('a', 0.95)
        """
        execution = self._opened.follow(Execution.on(device, batch_size, progress, limits=limits, announce=announce))
        explaining = searching.Explaining(encoder, config, execution, probes, pixels)
        target = searching.find_target(self._opened, model, explaining, warn)
        return searching.search_sources(self._opened, target, exact, warn)

    def index(self, progress: Share | None = None, by: NearestBy | None = None) -> int:
        """Build the approximate indexes that `nearest` and `duplicates` use among many models, or add new ones to them.

        `by` is which: `kin`, that of fingerprints of maps, which needs usearch, or `use` (None: both, where the space ranks by use). Returns the number of models.
        `progress` is called with the fraction done. Raises ConfigError, SpaceError, OutputError.

        >>> space.index(by="kin")  # doctest: +SKIP
        100000
        """
        count = 0
        if by == "use" or (by is None and self.ranks_by_use):
            count = searching.build_use_index(self._opened, progress)
        return count if by == "use" else searching.build_kin_index(self._opened, progress)

    def fingerprint(
        self, model: str | Path, output: str | Path, *, encoder: str | Sequence[str] | None = None,
        config: Config | str | Path | None = None, device: Compute | Device = "auto", batch_size: int | None = None,
        probes: Probes | None = None, progress: Progress | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
        announce: Announce | None = None, outputs: bool = True, labels: Labels | None = Labels(),  # noqa: B008
    ) -> Explained:  # fmt: skip
        """Explain `model` by this space's protocol without adding it, and write its fingerprint to the file `output`.

        Without `outputs` it holds nothing of what the model answers; `labels` are as in `fingerprint_file`. The other arguments are as in `add`. Returns the fingerprint, the assumptions about the model, and warnings. Raises ModelError,
        OutputError.

        >>> found, assumed, warnings = space.fingerprint("new.onnx", "new.fp")  # doctest: +SKIP
        """
        execution = self._opened.follow(Execution.on(device, batch_size, progress, limits=limits, announce=announce))
        explaining = searching.Explaining(encoder, config, execution, probes, pixels)
        explained = searching.explain(self._opened, Path(model), explaining)
        found = choose_labels(drop_outputs(explained, keep=outputs), labels)
        write_fingerprint(Path(output), found[0])
        return found

    def duplicates(
        self, least: float = DUPLICATE, memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> tuple[tuple[str, str, float, float], ...]:
        """Return the pairs of models with an affinity of at least `least`, largest first: name, name, affinity, standard error.

        The same network exported twice has an affinity of nearly 1; in 8 bits, or with weights changed by 1 %, mostly more than the
        default. `memory` and `progress` are as in `affinity`. Raises SpaceError.

        >>> space.duplicates(0.98)  # doctest: +SKIP
        (('a', 'a-copy', 0.9999, 0.0),)
        """
        return self.duplicate_groups(least, memory, progress).pairs

    def duplicate_groups(
        self, least: float = DUPLICATE, memory: int = DEFAULT_MEMORY, progress: Share | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> DuplicateGroups:  # fmt: skip
        """Return the pairs of `duplicates`, with its arguments `least`, `memory` and `progress`, and the groups of models that they connect.

        Pairs are proposed by fingerprints and decided by maps, so that no matrix of all models is needed; `warn` is called with a
        sentence where an index was used, which may miss pairs. Raises SpaceError.

        >>> space.duplicate_groups().members  # doctest: +SKIP
        (('a', 'a-copy'),)
        """
        return comparing.group_duplicates(self._opened, least, memory, progress, warn)

    def tree(
        self, linkage: Linkage = "average", memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> NDArray[np.float64]:
        """Return the similarity tree by `linkage` as a SciPy linkage matrix, float64 [models − 1, 4].

        `memory` and `progress` are as in `affinity`. Raises SpaceError for fewer than two models.

        >>> space.tree().shape  # doctest: +SKIP
        (11, 4)
        """
        return self.named_tree(linkage, memory, progress)[1]

    def named_tree(
        self, linkage: Linkage = "average", memory: int = DEFAULT_MEMORY, progress: Share | None = None
    ) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return the names of the models that were compared, and their tree; arguments are as in `tree`.

        Raises SpaceError for fewer than two models.

        >>> names, joined = space.named_tree()  # doctest: +SKIP
        """
        found = self.affinity(memory, progress) if len(self) > 1 else None
        if found is None or len(found.names) < 2:
            raise SpaceError(f"{self.path} has fewer than two models to compare, so there is no tree. Add models.")
        return found.names, found.tree(linkage)

    def verify(self, progress: Progress | None = None) -> Verification:
        """Read all files and report those that differ from what was written.

        `progress` is called with a model's name, the number of models done, and their total. Raises SpaceError where there is no space.

        >>> space.verify().clean  # doctest: +SKIP
        True
        """
        return maintenance.verify(self.path, progress)

    def compact(self) -> tuple[int, int]:
        """Remove files that nothing refers to; returns the number of files removed and of bytes freed. Raises SpaceError, OutputError.

        >>> space.compact()  # doctest: +SKIP
        (3, 81920)
        """
        return maintenance.compact(self.path)
