"""Affinities computed on a cluster, one block of the matrix per task.

The division into blocks depends on the number of models alone, and each block is summed in a fixed order, so the result does
not depend on the number of workers or on which worker computes which block.
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
from onnxspace.workflows.cluster.reply import return_errors

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.submission import Cluster

#: Least and most models of a band of rows, and the number of bands. Up to `LEAST` models are compared in the client, which takes
#: less time than distributing them.
LEAST, _MOST, _BANDS = 32, 512, 24
#: Width of a block in bands. Each block compares the models of its band with each other again.
_ACROSS = 4
_PER_THREAD = 2**25
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """A task: the new models `rows` against the models `columns` before them, and against each other."""

    rows: range
    columns: range


def split_blocks(new: int, old: int) -> Iterator[Block]:
    """Yield blocks that cover all pairs of `new` models with each other and with the `old` models before them.

    Rows count from the first new model, columns from the first old one.
    """
    band = min(_MOST, max(LEAST, -(-(new + old) // _BANDS)))
    for first in range(0, new, band):
        rows, before = range(first, min(first + band, new)), old + first
        for left in range(0, max(before, 1), _ACROSS * band):
            yield Block(rows, range(left, min(left + _ACROSS * band, before)))


def affinity_rows_on(
    cluster: Cluster, new_files: Sequence[Path], old_files: Sequence[Path], memory: int = DEFAULT_MEMORY,
    progress: Share | None = None,
) -> Matrix:  # fmt: skip
    """Compute rows of the affinity matrix on the workers of a cluster, otherwise as `onnxspace.similarity.gram.affinity_rows`.

    `new_files` and `old_files` are files of unit maps, `memory` bounds the bytes each worker holds, `progress` is called with the
    fraction done. Returns float64 [new, old + new]. Raises ClusterError, ProbeError.
    """
    new, old = len(new_files), len(old_files)
    if new + old <= LEAST:
        return affinity_rows(new_files, old_files, memory, progress)
    files = [str(Path.cwd() / path) for path in (*old_files, *new_files)]
    open_blocks: dict[Any, Block] = {}
    for block in split_blocks(new, old):
        mine = [files[old + i] for i in block.rows]
        theirs = [files[i] for i in block.columns]
        open_blocks[cluster.submit(compare_block, mine, theirs, memory, cluster.threads)] = block
    matrix, total = np.empty((new, old + new)), len(open_blocks)
    while open_blocks:
        future = cluster.next()
        if future in open_blocks:
            _place(matrix, open_blocks.pop(future), cluster.result(future, "Affinities"), old)
            if progress is not None:
                progress(1 - len(open_blocks) / total)
    return matrix


def _place(matrix: Matrix, block: Block, part: Matrix, old: int) -> None:
    """Enter a block into the matrix, and the transpose of what it holds of pairs of new models."""
    own = slice(old + block.rows.start, old + block.rows.stop)
    rows, columns = slice(block.rows.start, block.rows.stop), slice(block.columns.start, block.columns.stop)
    matrix[rows, columns], matrix[rows, own] = part[:, : len(block.columns)], part[:, len(block.columns) :]
    if (first := max(block.columns.start, old)) < block.columns.stop:
        turned = part[:, first - block.columns.start : len(block.columns)].T
        matrix[first - old : block.columns.stop - old, own] = turned


@return_errors
def compare_block(new: Sequence[str], old: Sequence[str], memory: int, threads: int | None) -> Matrix:
    """Compute a block on a worker: float64 [new, old + new] for files of unit maps; `threads` as in `Cluster`.

    Raises ClusterError where a file can't be read.
    """
    from distributed import get_worker

    budget = _PER_THREAD * (
        get_worker().state.nthreads if threads is None else threads
    )  # affinity_rows uses one thread per so many bytes
    try:
        return affinity_rows([Path(path) for path in new], [Path(path) for path in old], min(memory, budget))
    except OSError as error:
        where = error.filename or "maps"
        raise ClusterError(
            f"The worker on {socket.gethostname()} can't read {where}. Keep it in a folder that all machines share."
        ) from error
