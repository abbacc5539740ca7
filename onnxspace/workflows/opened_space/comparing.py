"""What relates the models of a space: affinities, rankings and their certainty, duplicates, the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from onnxspace.errors import ConfigError, SpaceError
from onnxspace.inputs.execution import Device, Share
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.gram import RowFunction, affinity_rows
from onnxspace.similarity.ranking import Ranking
from onnxspace.spaces.compare import AffinityRow, affinities, affinity_row
from onnxspace.spaces.compare import certainties as compute_certainties
from onnxspace.spaces.neighbours import DuplicateGroups, find_duplicates
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.workflows.opened_space.view import OpenedSpace
from onnxspace.workflows.space_ranking import describe_affinities


def compare_all(
    space: OpenedSpace, memory: int, progress: Share | None, cluster: str | None, device: Device
) -> Affinity:  # fmt: skip
    """The affinities of the chosen models, computed here, on a GPU, or on a cluster. Raises SpaceError, ClusterError, ConfigError."""
    if cluster is not None and device != "cpu":
        raise ConfigError("The workers of a cluster compare on their CPUs. Leave out --device, or --cluster.")
    if cluster is None:
        return _compare_by(space, memory, progress, _row_function_for(device))
    from onnxspace.workflows.cluster.client import connect
    from onnxspace.workflows.cluster.gram import affinity_rows_on

    with connect(cluster) as workers:
        return _compare_by(space, memory, progress, partial(affinity_rows_on, workers))


def _compare_by(space: OpenedSpace, memory: int, progress: Share | None, rows: RowFunction | None) -> Affinity:
    def compute(entries: Sequence[CatalogueEntry]) -> Affinity:
        matrix, errors = affinities(space.path, space.protocol, entries, memory, progress, rows)
        return describe_affinities(space.protocol, entries, matrix, errors)

    return space.without_damaged(space.entries(), compute)


def _row_function_for(device: Device) -> RowFunction | None:
    """Return the function that compares maps on a device; None for the CPU, which needs none."""
    if device == "cpu":
        return None
    from onnxspace.attribution.devices import list_devices, resolve_compute
    from onnxspace.similarity.gpu_worker import tile_worker_for

    return partial(affinity_rows, worker=tile_worker_for(list_devices(resolve_compute(device))[0]))


def compare_one(space: OpenedSpace, target: str, memory: int, progress: Share | None) -> AffinityRow:
    """The affinities of `target` with the chosen models. Raises SpaceError for an unknown model."""
    own = space.find_entry(target)

    def compute(entries: Sequence[CatalogueEntry]) -> AffinityRow:
        index = next((i for i, entry in enumerate(entries) if entry.stem == own.stem), None)
        if index is None:
            raise SpaceError(f"{own.name} was removed from {space.path} meanwhile.")
        values = affinity_row(space.path, space.protocol, entries, index, memory, progress)
        return AffinityRow(own.name, tuple(entry.name for entry in entries), *values)

    return space.without_damaged(space.entries_with(own), compute, own.stem)


def resample(space: OpenedSpace, rankings: Sequence[Ranking], memory: int) -> Iterator[Certainty]:
    """The certainty of each of `rankings`, which this space returned. Raises SpaceError, ConfigError."""
    names = {name for ranking in rankings for name in (ranking.target, *(source for source, _ in ranking.sources))}
    entries = [entry for entry in space.all_entries() if entry.name in names]
    return compute_certainties(space.path, space.protocol, entries, rankings, memory)


def group_duplicates(
    space: OpenedSpace, least: float, memory: int, progress: Share | None, warn: Callable[[str], None] | None
) -> DuplicateGroups:  # fmt: skip
    """The groups of chosen models with affinities of at least `least`. Raises SpaceError."""
    return space.without_damaged(
        space.entries(),
        lambda entries: find_duplicates(space.path, space.protocol, entries, least, memory, progress, warn),
    )
