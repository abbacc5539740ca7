"""Rankings of the models of a space by what predicts transfer, from features and outputs in little, as `score` has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError, SpaceError
from onnxspace.inputs.execution import Share
from onnxspace.inputs.protocol import Protocol
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.pairs.dds import centred_similarities
from onnxspace.scores.reduce import ReducedArrays
from onnxspace.scores.selection import FEWEST, MEAN_RANK, MOST_RANKED, USUAL, ScoreSelection
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import record_of
from onnxspace.similarity.fingerprints.count_sketch import affinities as sketch_affinities
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.similarity.mixed import with_certainty_of_shares
from onnxspace.similarity.reliability import find_evidence
from onnxspace.spaces.compare import affinities
from onnxspace.spaces.layout import read_prints, read_reduced
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.workflows.rank import add_scores

#: Sources of a target that are ranked exactly where a space has more models than all of which pairs are compared.
CANDIDATES = MOST_RANKED - 1


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

    def is_entry(self, entry: CatalogueEntry) -> bool:
        """Whether this is the model of `entry`."""
        return self.entry is not None and self.entry.stem == entry.stem


@dataclass(frozen=True)
class Comparing:
    """How models of a space are compared: the bytes of `memory`, `progress`, and whether rankings are resampled."""

    memory: int
    progress: Share | None = None
    certain: bool = False


def keeps_rankings(protocol: Protocol) -> bool:
    """Whether a space of this protocol ranks sources by more than maps: it keeps features, on pictures of a task."""
    return protocol.detail != "maps" and find_evidence(protocol.probe) == "pictures" and protocol.images >= FEWEST


def compare_models(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], target: Target | None, comparing: Comparing
) -> Affinity:  # fmt: skip
    """Return the affinities of `entries` (and `target`), with rankings by `mean_rank` where the space keeps what they need.

    Of more than 100 models only the candidates of `target` are compared. Raises SpaceError.
    """
    ranked = keeps_rankings(protocol)
    if target is None and ranked and len(entries) > MOST_RANKED:
        raise SpaceError(f"{folder} has {len(entries)} models, more than {MOST_RANKED}: name the one to rank sources for.")
    sources = [entry for entry in entries if target is None or not target.is_entry(entry)]
    if ranked and target is not None:
        entries = _keep_candidates(folder, protocol, entries, sources, target)
    found = describe_affinities(protocol, entries, *affinities(folder, protocol, entries, comparing.memory, comparing.progress))
    if target is not None and target.fingerprint is not None:
        found = add_model(
            found, target.fingerprint, read_prints(folder, [entry.stem for entry in entries], protocol), target.path
        )
    if not ranked or len(found.names) < 2:
        return found
    held = [read_reduced(folder, entry, protocol) for entry in entries]
    return _rank(found, held, target, comparing, len(sources))


def _keep_candidates(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], sources: Sequence[CatalogueEntry], target: Target
) -> list[CatalogueEntry]:  # fmt: skip
    """The candidates among the sources, and the target where it is in the space, in the order of `entries`."""
    chosen = {entry.stem for entry in choose_candidates(folder, protocol, sources, target.reduced, target.prints)}
    return [entry for entry in entries if entry.stem in chosen or target.is_entry(entry)]


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
        options=dict(protocol.options), errors=errors, evidence=find_evidence(protocol.probe),
    )  # fmt: skip


def add_rankings(found: Affinity, held: Sequence[Reduced | None], certain: bool | Sequence[str] = False) -> Affinity:
    """Return the affinities `found` with rankings by `mean_rank`; `held` has what is kept of each model, which are at most 100.

    `certain` names the targets (True: all) whose rankings are resampled.
    """
    order = next((one.order for one in held if one is not None), np.zeros(0, np.intp))
    models = [_as_arrays(one, order) for one in held]
    scored, shares = add_scores(found, ScoreSelection(USUAL, ranks=MEAN_RANK, usual=True), models, order)
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
    record = record_of(fingerprint, path, _choose_name(fingerprint.name, found.names))[0]
    return replace(found, models=(*found.models, record), matrix=values, errors=errors)


def _choose_name(name: str, others: Sequence[str]) -> str:
    """The name, with the suffix of a fingerprint as often as models of the space have it already."""
    while name in others:
        name += ".fp"
    return name


def choose_candidates(
    folder: Path, protocol: Protocol, entries: Sequence[CatalogueEntry], target: Reduced | None, prints: NDArray[np.float16]
) -> list[CatalogueEntry]:  # fmt: skip
    """Return the 99 of `entries` whose features resemble the outputs of `target` most, in their order; all where they are fewer.

    The resemblance is the duality-diagram similarity of the target's outputs and a source's features; without outputs, of both
    models' features. Of a target with neither they are the nearest by its `prints`, float16 [images, numbers]. Raises SpaceError.
    """
    if len(entries) <= CANDIDATES:
        return list(entries)
    wanted = _describe_target(target)
    if wanted is None:
        found = sketch_affinities(prints[None], read_prints(folder, [entry.stem for entry in entries], protocol))[0][0]
    else:
        found = np.array([_resemble(wanted, read_reduced(folder, entry, protocol)) for entry in entries])
    return [entries[i] for i in np.sort(np.argsort(-found, kind="stable")[:CANDIDATES])]


def _describe_target(one: Reduced | None) -> NDArray[np.float64] | None:
    """The similarities of images in a target's outputs, or in its features, of unit length; None where it has neither."""
    if one is None:
        return None
    arrays = ReducedArrays(one)
    try:
        if (outputs := arrays.load("outputs")) is not None:
            return centred_similarities(outputs.rows.reshape(outputs.images, -1))
    except OnnxspaceError:  # they are equally similar for all pairs of images
        pass
    return arrays.load_similarities()


def _resemble(wanted: NDArray[np.float64], one: Reduced | None) -> float:
    found = None if one is None else ReducedArrays(one).load_similarities()
    return -np.inf if found is None or found.shape != wanted.shape else float(np.vdot(wanted, found))


def explain_candidates(found: Affinity, sources: int) -> Affinity:
    """Return `found` with a warning if only some of the `sources` of the space are ranked."""
    if len(found.names) > sources:
        return found
    words = (
        f"Of {sources} models, {len(found.names) - 1} are ranked: those whose features resemble the target's outputs most, "
        "or whose maps resemble its own where it has none."
    )
    return replace(found, warnings=(*found.warnings, words))
