"""Rankings of the models of a space by what predicts transfer, from features and outputs in little, as `score` has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, SpaceError
from onnxspace.inputs.execution import DEFAULT_MEMORY, Share
from onnxspace.inputs.precision import ModelPrecision
from onnxspace.inputs.protocol import Protocol
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.pointwise_readout import predict_pictures
from onnxspace.scores.reduce import ReducedArrays
from onnxspace.scores.selection import FEWEST, MEAN_RANK, MOST_RANKED, USUAL, ScoreSelection
from onnxspace.scores.threads import blas_threads
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import record_of
from onnxspace.similarity.fingerprints.count_sketch import affinities as sketch_affinities
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.similarity.mean_rank import combine_ranks
from onnxspace.similarity.mixed import with_certainty_of_shares
from onnxspace.similarity.records import ModelRecord
from onnxspace.similarity.reliability import find_evidence
from onnxspace.spaces.catalogue import Catalogue, open_catalogue
from onnxspace.spaces.compare import affinities, affinity_row
from onnxspace.spaces.layout import read_prints, read_reduced
from onnxspace.spaces.neighbours import Neighbour, Query, find_neighbours
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.workflows.rank import add_scores
from onnxspace.workflows.space_sources import SourceQuery, propose_sources

#: Sources of a target that are ranked exactly where a space has more models than all of which pairs are compared.
CANDIDATES = MOST_RANKED - 1
#: Of a target whose answers are pictures: models that a cheaper readout ranks, and how many of them are ranked exactly.
WIDE, PICTURES = 200, 30


@dataclass(frozen=True, eq=False)
class Target:
    """The model for which sources are wanted: `entry` of the space, or else a `fingerprint` of the file `path`."""

    prints: NDArray[np.float16]
    reduced: Reduced | None
    entry: CatalogueEntry | None = None
    fingerprint: Fingerprint | None = None
    path: Path = Path()

    @classmethod
    def of_entry(cls, folder: Path, protocol: Protocol, entry: CatalogueEntry) -> Target:
        """Read what the space keeps of a model. Raises SpaceError."""
        reduced = read_reduced(folder, entry, protocol) if keeps_rankings(protocol) else None
        return cls(read_prints(folder, [entry.stem], protocol)[0], reduced, entry)

    @classmethod
    def of_fingerprint(cls, fingerprint: Fingerprint, origin: str | Path | Fingerprint) -> Target:
        """A model that is not in the space; `origin` is the file of the fingerprint, where it is from one."""
        path = Path() if isinstance(origin, Fingerprint) else Path(origin)
        return cls(fingerprint.prints, fingerprint.reduced, fingerprint=fingerprint, path=path)

    @property
    def identity(self) -> bytes | None:
        """The identity in the space, None of a model that is not in it."""
        return None if self.entry is None else bytes.fromhex(self.entry.identity)

    @property
    def answers_in_pictures(self) -> bool:
        """Whether its answers are known, and are pictures."""
        return self.reduced is not None and self.reduced.answers_in_pictures

    def record(self, others: Sequence[str]) -> ModelRecord:
        """The target as a compared model, with a name that no model among `others` has."""
        if self.entry is not None:
            return self.entry.record()
        assert self.fingerprint is not None
        return record_of(self.fingerprint, self.path, _choose_name(self.fingerprint.name, others))[0]

    def is_entry(self, entry: CatalogueEntry) -> bool:
        """Whether this is the model of `entry`."""
        return self.entry is not None and self.entry.stem == entry.stem


@dataclass(frozen=True)
class Comparing:
    """How models of a space are compared: the bytes of `memory`, `progress`, and whether rankings are resampled.

    An `exact` search for candidates does not use the index; `warn` receives advice on it. `keep` are the identities of the models
    that are compared with a target, or with each other (None: all).
    """

    memory: int = DEFAULT_MEMORY
    progress: Share | None = None
    certain: bool = False
    exact: bool = False
    warn: Callable[[str], None] | None = None
    keep: frozenset[str] | None = None


def keeps_rankings(protocol: Protocol) -> bool:
    """Whether a space of this protocol ranks sources by more than maps: it keeps features, on pictures of a task."""
    return protocol.detail != "maps" and find_evidence(protocol.probe) == "pictures" and protocol.images >= FEWEST


def compare_models(
    folder: Path, protocol: Protocol, target: Target | None, comparing: Comparing
) -> Affinity:  # fmt: skip
    """Return the affinities of all models (and `target`), with rankings by `mean_rank` where the space keeps what they need.

    Of more than 100 models only the candidates of `target` are compared. Raises SpaceError.
    """
    ranked = keeps_rankings(protocol)
    chosen = _choose(folder, protocol, target, comparing, ranked=ranked)
    entries = chosen.with_target(target)
    found = describe_affinities(protocol, entries, *affinities(folder, protocol, entries, comparing.memory, comparing.progress))
    if target is not None and target.fingerprint is not None:
        found = add_model(
            found, target.fingerprint, read_prints(folder, [entry.stem for entry in entries], protocol), target.path
        )
    if not ranked or len(found.names) < 2:
        return found
    held = [read_reduced(folder, entry, protocol) for entry in entries]
    return _rank(found, held, target, comparing, chosen.count)


def find_sources(folder: Path, protocol: Protocol, target: Target, comparing: Comparing) -> Affinity:
    """Return the ranking of the sources of `target` alone, which is that of `compare_models`, without comparing sources.

    Affinities are those of fingerprints, and of other targets there are none. Raises SpaceError for a space that keeps maps only.
    """
    if not keeps_rankings(protocol):
        raise SpaceError(
            f"{folder} does not rank by use: it keeps maps only, or its images are of no task, or fewer than {FEWEST}. "
            "Make a space with `--probe photos/`."
        )
    chosen = _choose(folder, protocol, target, comparing, ranked=True)
    found = _compare_row(folder, protocol, chosen.entries, target, comparing)
    if not chosen.entries:
        return found
    held = [read_reduced(folder, entry, protocol) for entry in chosen.entries]
    scored = add_rankings(found, [*held, target.reduced], targets={len(held)})
    return explain_candidates(scored, chosen.count)


def _compare_row(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], target: Target, comparing: Comparing
) -> Affinity:  # fmt: skip
    """The affinities of the target, as the last model, with sources; NaN between sources.

    They are those of fingerprints, but of maps for a target of the space that is ranked by nothing else.
    """
    count = len(entries)
    if target.entry is not None and (target.reduced is None or not ReducedArrays(target.reduced).ranks):
        own = affinity_row(folder, protocol, [*entries, target.entry], count, comparing.memory, keep=False)[:, :count]
    else:
        prints = read_prints(folder, [entry.stem for entry in entries], protocol)
        own = np.stack(sketch_affinities(target.prints[None], prints))[:, 0]
    matrix, errors = np.full((count + 1, count + 1), np.nan), np.zeros((count + 1, count + 1))
    np.fill_diagonal(matrix, 1.0)
    for values, row in ((matrix, own[0]), (errors, own[1])):
        values[count, :count] = values[:count, count] = row
    return _append_model(describe_affinities(protocol, entries, matrix, errors), target.record, protocol)


def _append_model(found: Affinity, describe: Callable[[Sequence[str]], ModelRecord], protocol: Protocol) -> Affinity:
    """The affinities with the record of a further model, the last one, which is computed as those of the space are."""
    record = describe(found.names)
    precisions = {**found.precisions, record.name: ModelPrecision(protocol.precision)}
    return replace(found, models=(*found.models, record), precisions=precisions)


@dataclass(frozen=True)
class Chosen:
    """The sources that are ranked, in the order in which they were added, and the `count` of all sources of the space."""

    entries: Sequence[CatalogueEntry]
    count: int
    whole: Sequence[CatalogueEntry] = ()

    def with_target(self, target: Target | None) -> list[CatalogueEntry]:
        """The sources and the target, where it is of the space, at its place."""
        if target is None or target.entry is None:
            return list(self.entries)
        if self.whole:
            return list(self.whole)
        return sorted([*self.entries, target.entry], key=lambda one: (one.added, one.name))


def _choose(folder: Path, protocol: Protocol, target: Target | None, comparing: Comparing, *, ranked: bool) -> Chosen:
    """The sources of the target, all of them or candidates. Raises SpaceError for no target among many models."""
    with open_catalogue(folder) as book:
        many = ranked and comparing.keep is None and book.has_more_than(MOST_RANKED)
        entries = [] if many and target is not None else _kept_entries(book, target, comparing.keep)
    many = many or (ranked and len(entries) > MOST_RANKED)
    if many and target is None:
        raise SpaceError(f"{folder} has {len(entries)} models, more than {MOST_RANKED}: name the one to rank sources for.")
    if many and target is not None:
        return _choose_candidates(folder, protocol, target, comparing)
    sources = [entry for entry in entries if target is None or not target.is_entry(entry)]
    return Chosen(sources, len(sources), entries)


def _kept_entries(book: Catalogue, target: Target | None, keep: frozenset[str] | None) -> list[CatalogueEntry]:
    """The models that are compared, and the target where it is of the space."""
    return [
        entry for entry in book.entries()
        if keep is None or entry.identity in keep or (target is not None and target.is_entry(entry))
    ]  # fmt: skip


def _choose_candidates(folder: Path, protocol: Protocol, target: Target, comparing: Comparing) -> Chosen:
    """The 99 candidates for the sources of the target: by what predicts use, or of a target that has nothing of it by maps.

    Where its answers are pictures there are 30, as each costs seconds of a processor for a few.
    """
    own = target.identity
    keep = None if comparing.keep is None else frozenset(map(bytes.fromhex, comparing.keep))
    query = SourceQuery(target.reduced, WIDE if target.answers_in_pictures else CANDIDATES, own, comparing.exact, keep)
    found = propose_sources(folder, protocol, query, comparing.warn, comparing.progress)
    if found is not None:
        return Chosen(_narrow(folder, protocol, target, found[0]), found[1])
    near = find_neighbours(
        folder, protocol, Query(target.prints, CANDIDATES, own, comparing.exact), comparing.warn, comparing.keep
    )
    with open_catalogue(folder) as book:
        listed = [entry for one in near if (entry := book.find("name", one.name)) is not None]
        count = len((book.keys() if keep is None else book.keys() & keep) - {own})
    return Chosen(sorted(listed, key=lambda one: (one.added, one.name)), count)


def _narrow(folder: Path, protocol: Protocol, target: Target, entries: list[CatalogueEntry]) -> list[CatalogueEntry]:
    """The candidates for a target whose answers are pictures: of `entries` those that predict each position best."""
    if not target.answers_in_pictures or len(entries) <= PICTURES:
        return entries
    assert target.reduced is not None
    try:
        with blas_threads():  # with two threads, so small products take twenty times as long
            values = predict_pictures(target.reduced, (read_reduced(folder, entry, protocol) for entry in entries))
    except ConfigError:  # its outputs do not vary, so that nothing is predicted, and the ranking says why
        return entries
    values[:, np.isnan(values).any(axis=0)] = -np.inf
    order = np.argsort(-combine_ranks(values[:, None])[0], kind="stable")
    return [entries[i] for i in sorted(order[:PICTURES])]


def _rank(found: Affinity, held: list[Reduced | None], target: Target | None, comparing: Comparing, sources: int) -> Affinity:
    """Add rankings to the affinities; those of the target are resampled where that is asked for."""
    if target is None:
        return add_rankings(found, held, comparing.certain)
    if target.fingerprint is not None:
        held = [*held, target.reduced]
    name = found.names[-1] if target.entry is None else target.entry.name
    return explain_candidates(add_rankings(found, held, (name,) if comparing.certain else False), sources)


def describe_affinities(
    protocol: Protocol, entries: Sequence[CatalogueEntry], matrix: NDArray[np.float64], errors: NDArray[np.float64] | None
) -> Affinity:  # fmt: skip
    """Return the affinities of `entries` with their records, the facts of the images, method and options."""
    return Affinity(
        tuple(entry.record() for entry in entries), matrix, protocol.method, protocol.probe_facts(),
        options=protocol.stated_options, errors=errors, evidence=find_evidence(protocol.probe),
        precisions={entry.name: ModelPrecision(protocol.precision) for entry in entries},
    )  # fmt: skip


def add_rankings(
    found: Affinity, held: Sequence[Reduced | None], certain: bool | Sequence[str] = False, targets: Collection[int] | None = None
) -> Affinity:  # fmt: skip
    """Return the affinities `found` with rankings by `mean_rank`; `held` has what is kept of each model, which are at most 100.

    `certain` names the targets (True: all) whose rankings are resampled; only sources of `targets` (positions; None: all) are ranked.
    """
    order = next((one.order for one in held if one is not None), np.zeros(0, np.intp))
    models = [_as_arrays(one, order) for one in held]
    scored, shares = add_scores(found, ScoreSelection(USUAL, ranks=MEAN_RANK, usual=True), models, order, targets)
    return with_certainty_of_shares(scored, certain, shares) if certain else scored


def _as_arrays(one: Reduced | None, order: NDArray[np.intp]) -> Arrays | ReducedArrays:
    """What scores load of a model; of one that states another order of the images nothing can be compared."""
    return Arrays() if one is None or not np.array_equal(one.order, order) else ReducedArrays(one)


def add_model(found: Affinity, fingerprint: Fingerprint, prints: NDArray[np.float16], path: Path) -> Affinity:
    """Return `found` with a model that is known by its fingerprint as the last one; `prints` are those of the others."""
    count = len(found.names)
    values, errors = np.eye(count + 1), np.zeros((count + 1, count + 1))
    values[:count, :count] = found.matrix
    errors[:count, :count] = 0.0 if found.errors is None else found.errors
    own = sketch_affinities(fingerprint.prints[None], prints)
    values[count, :count] = values[:count, count] = own[0][0]
    errors[count, :count] = errors[:count, count] = own[1][0]

    def describe(others: Sequence[str]) -> ModelRecord:
        return record_of(fingerprint, path, _choose_name(fingerprint.name, others))[0]

    return replace(_append_model(found, describe, fingerprint.protocol), matrix=values, errors=errors)


def _choose_name(name: str, others: Sequence[str]) -> str:
    """The name, with the suffix of a fingerprint as often as models of the space have it already."""
    while name in others:
        name += ".fp"
    return name


def explain_candidates(found: Affinity, sources: int) -> Affinity:
    """Return `found` with a warning if only some of the `sources` of the space are ranked."""
    if len(found.names) > sources:
        return found
    words = (
        f"Of {sources} models, {len(found.names) - 1} are ranked: those estimated to be the best, or the nearest by maps where the "
        "target has neither outputs nor features. Of the ten best of all about one is missed."
    )
    return replace(found, warnings=(*found.warnings, words))


def list_neighbours(found: Affinity, count: int) -> tuple[Neighbour, ...]:
    """Return the `count` best sources of the last model of `found`, the result of `find_sources`."""
    target = found.names[-1]
    ranked, place = found.rank(target), {name: i for i, name in enumerate(found.names)}
    kin = found.scores.get("attribution", found.matrix)[-1]
    errors = np.zeros(len(place)) if found.errors is None else found.errors[-1]
    rows = list(zip(ranked.sources, ranked.places, strict=True))[:count]
    return tuple(
        Neighbour(name, float(kin[place[name]]), float(errors[place[name]]), value, where, _list_scores(found, place[name]))
        for (name, value), where in rows
    )


def _list_scores(found: Affinity, source: int) -> dict[str, float | None]:
    """The value of every score of the last model with a source."""
    values = {name: float(matrix[-1, source]) for name, matrix in found.scores.items() if name != "attribution"}
    return {name: None if np.isnan(value) else value for name, value in values.items()}
