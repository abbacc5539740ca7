"""Affinities on a cluster, block by block: each task compares some models with some others over all images.

How the matrix is cut depends on the number of models alone, and each block is summed in one order, so that the result does
not depend on which worker does what, or on how many there are.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ClusterError
from onnxspace.inputs.execution import DEFAULT_MEMORY, Share
from onnxspace.similarity.gram import affinity_rows
from onnxspace.workflows.cluster.reply import answering

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.client import Cluster

#: Models of a band: fewer in all are compared where they are asked for, in less time than it takes to hand them out.
LEAST, _MOST, _BANDS = 32, 512, 24
#: A block's other side, as so many bands: what is compared within the band is done once more for each block.
_ACROSS = 4
_PER_THREAD = 2**25
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """The models `rows` of the new ones against the models `columns` of those before them, and among themselves."""

    rows: range
    columns: range


def blocks(new: int, old: int) -> Iterator[Block]:
    """Every pair that `new` models form with each other and with `old` ones before them; columns count from the first old one."""
    band = min(_MOST, max(LEAST, -(-(new + old) // _BANDS)))
    for first in range(0, new, band):
        rows, before = range(first, min(first + band, new)), old + first
        for left in range(0, max(before, 1), _ACROSS * band):
            yield Block(rows, range(left, min(left + _ACROSS * band, before)))


def rows_on(
    cluster: Cluster, new_files: Sequence[Path], old_files: Sequence[Path], memory: int = DEFAULT_MEMORY,
    progress: Share | None = None,
) -> Matrix:  # fmt: skip
    """As `onnxspace.similarity.gram.affinity_rows`, by the workers of a cluster. Raises ClusterError, ProbeError."""
    new, old = len(new_files), len(old_files)
    if new + old <= LEAST:
        return affinity_rows(new_files, old_files, memory, progress)
    files = [str(Path.cwd() / path) for path in (*old_files, *new_files)]
    out: dict[Any, Block] = {}
    for block in blocks(new, old):
        mine = [files[old + i] for i in block.rows]
        theirs = [files[i] for i in block.columns]
        out[cluster.submit(compare, mine, theirs, memory, cluster.threads)] = block
    found, total = np.empty((new, old + new)), len(out)
    while out:
        future = cluster.next()
        if future in out:
            _place(found, out.pop(future), cluster.result(future, "Affinities"), old)
            if progress is not None:
                progress(1 - len(out) / total)
    return found


def _place(found: Matrix, block: Block, part: Matrix, old: int) -> None:
    """Enter a block, and what it says of pairs of new models in their other order."""
    own = slice(old + block.rows.start, old + block.rows.stop)
    rows, columns = slice(block.rows.start, block.rows.stop), slice(block.columns.start, block.columns.stop)
    found[rows, columns], found[rows, own] = part[:, : len(block.columns)], part[:, len(block.columns) :]
    if (first := max(block.columns.start, old)) < block.columns.stop:
        turned = part[:, first - block.columns.start : len(block.columns)].T
        found[first - old : block.columns.stop - old, own] = turned


@answering
def compare(new: Sequence[str], old: Sequence[str], memory: int, threads: int | None) -> Matrix:
    """What a worker does of it: float64 [new, old + new]."""
    from distributed import get_worker

    share = _PER_THREAD * (get_worker().state.nthreads if threads is None else threads)  # the engine takes a thread for as much
    try:
        return affinity_rows([Path(path) for path in new], [Path(path) for path in old], min(memory, share))
    except OSError as error:
        where = error.filename or "maps"
        raise ClusterError(
            f"The worker on {socket.gethostname()} can't read {where}. Keep it in a folder that all machines share."
        ) from error
