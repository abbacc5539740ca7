"""Candidates for the sources of a target among very many models: searched by rows that predict how `mean_rank` ranks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import Share
from onnxspace.inputs.protocol import Protocol
from onnxspace.scores.source_rows import AnswersOfTarget, make_row, row_type, to_vectors
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.similarity.mean_rank import combine_ranks
from onnxspace.spaces.catalogue import Catalogue, open_catalogue
from onnxspace.spaces.layout import USE_ALIVE, USE_INDEX, USE_KEYS, USE_ROWS, read_reduced
from onnxspace.spaces.packs import Pack, Packing, list_entries
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.snapshots import Snapshot, take_snapshot
from onnxspace.spaces.use_index import UseIndex, build_use_index, open_use_index

#: Rows that are read whole: the best by each of the two estimates.
SHORT = 1500


@dataclass(frozen=True, eq=False)
class SourceQuery:
    """A search for the `count` best sources of a target with these features and outputs in little.

    `own` is the identity of the target in the space, None of another model; `keep` are the identities of the models that are
    searched (None: all).
    """

    reduced: Reduced | None
    count: int
    own: bytes | None = None
    exact: bool = False
    keep: frozenset[bytes] | None = None


def pack_rows(folder: Path, protocol: Protocol) -> Packing:
    """Return how models are packed by use."""
    kind = row_type(protocol.images)

    def make(entries: Sequence[CatalogueEntry]) -> NDArray[Any]:
        return np.array([make_row(read_reduced(folder, entry, protocol), protocol.images) for entry in entries], kind)

    return Packing(USE_KEYS, USE_ROWS, USE_ALIVE, kind, make)


def index_sources(folder: Path, protocol: Protocol, progress: Share | None = None, keep: frozenset[str] | None = None) -> int:
    """Index what models are searched by for use, of those in `keep` (None: all); returns their number. Raises OutputError and SpaceError."""
    return build_use_index(folder, pack_rows(folder, protocol), to_vectors, progress, keep)


def propose_sources(
    folder: Path, protocol: Protocol, query: SourceQuery, warn: Callable[[str], None] | None = None, progress: Share | None = None
) -> tuple[list[CatalogueEntry], int] | None:  # fmt: skip
    """Return the models that are estimated to be the best sources, in the order of adding, and the number of all sources.

    Two estimates are computed of every model, of a readout and of neighbours; of the best by each, what neighbours answer is
    computed exactly, and those first by the mean of both ranks are returned. Returns None for a target without outputs and
    features. `warn` receives advice on the index. Raises SpaceError for a damaged space.
    """
    target = AnswersOfTarget.of(query.reduced)
    if target is None:
        return None
    with open_catalogue(folder) as book:
        found = _open_snapshot(folder, protocol, book, progress, query.keep)
        if found.advice and warn is not None and not query.exact:
            warn(found.advice)
        keys = [key for key in _propose_keys(found, target, query) if key != query.own][: query.count]
        entries = list_entries(book, set(keys))
        own = (
            query.own is not None
            and (query.keep is None or query.own in query.keep)
            and book.find("identity", query.own.hex()) is not None
        )
    return sorted(entries, key=lambda one: (one.added, one.name)), int(found.alive.sum()) - own


def _open_snapshot(
    folder: Path, protocol: Protocol, book: Catalogue, progress: Share | None, keep: frozenset[bytes] | None
) -> Snapshot:  # fmt: skip
    packing, numbers = pack_rows(folder, protocol), row_type(protocol.images)["readout"].shape[0]
    files = (USE_KEYS, USE_ROWS, USE_INDEX)
    found = take_snapshot(
        folder, packing, book, lambda pack: open_use_index(folder, pack.keys, numbers), files, progress=progress, keep=keep
    )
    return found or make_snapshot(packing, book, keep)


def make_snapshot(packing: Packing, book: Catalogue, keep: frozenset[bytes] | None = None) -> Snapshot:
    """Pack all models in memory, where the files of the pack can't be written."""
    entries = [entry for entry in book.entries() if keep is None or bytes.fromhex(entry.identity) in keep]
    keys = tuple(bytes.fromhex(entry.identity) for entry in entries)
    return Snapshot(Pack(packing.make(entries), keys), np.ones(len(keys), np.bool_), None, "")


def _propose_keys(found: Snapshot, target: AnswersOfTarget, query: SourceQuery) -> list[bytes]:
    """Identities of the best sources, best first."""
    index: UseIndex | None = None if query.exact else found.index
    rows, count = found.pack.rows, 0 if index is None else len(index.coordinates)
    estimates = np.empty((2, len(rows)), np.float32)
    if index is not None:
        estimates[:, :count] = index.estimate(target.vectors)
    estimates[:, count:] = target.estimate(rows[count:])
    estimates[:, ~found.alive | ~np.isfinite(estimates).all(axis=0)] = -np.inf
    short = np.unique(np.concatenate([_best(one, max(SHORT, query.count + 1)) for one in estimates]))
    short = short[np.isfinite(estimates[0, short])]
    values = target.score(rows[short])
    ranks = combine_ranks(values[:, None])[0]
    return [found.pack.keys[i] for i in short[np.argsort(-ranks, kind="stable")][: query.count + 1]]


def _best(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(-values, count)[:count]
