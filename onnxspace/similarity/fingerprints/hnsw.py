"""An approximate nearest-neighbour index of fingerprints: an HNSW graph (Malkov and Yashunin 2018, by usearch) in one file.

Each row of the matrix is sketched again to 128 one-byte numbers; the graph proposes candidates, which are reranked by their
full rows. A file is, in this order: 8 bytes that name the format, version and header length (little-endian, 4 bytes each), the
header (JSON), and the graph as usearch writes it. It is checked against the checksums in its header and against the matrix,
from which it can be rebuilt at any time.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.inputs.execution import Share
from onnxspace.similarity.fingerprints.count_sketch import sketch_matrix
from onnxspace.similarity.fingerprints.file import replace_file
from onnxspace.similarity.fingerprints.search import Found, check_shapes, rerank
from onnxspace.storage.float16 import widen
from onnxspace.storage.regular_files import open_regular

FORMAT = 1
NUMBERS = 128
_MAGIC = b"\x89oxidx\r\n"
_FIXED = struct.Struct("<8sII")
_MOST_HEADER, _BLOCK, _SAMPLED = 2**12, 2**22, 1000
#: Neighbours of a node of the graph, and nodes visited when adding a row and when searching.
_DEGREE, _EFFORT_ADD, _EFFORT = 16, 128, 256


class Index:
    """The index at `path` of the rows of `matrix`, float16 [models, D]; created by `build`, `grow` or `open`."""

    def __init__(self, path: Path, matrix: NDArray[np.float16], graph: Any, seed: int, kept: Any = None) -> None:
        self.path, self.matrix = path, matrix
        self._graph, self._kept, self._seed = graph, kept, seed
        self._signs = sketch_matrix(matrix.shape[1], graph.ndim, seed)

    @classmethod
    def build(
        cls,
        path: Path,
        matrix: NDArray[np.float16],
        numbers: int = NUMBERS,
        seed: int = 0,
        progress: Share | None = None,
    ) -> Index:
        """Index all rows of `matrix`, float16 [models, D], and write the file `path` atomically.

        `numbers` is the size of the small sketch, drawn from `seed`; `progress` receives the share that is done, 0 to 1.
        Threads add rows in an order that varies between runs, so the few neighbours that the graph misses may vary too.
        Raises ConfigError where usearch is not installed, and OutputError where the file can't be written.
        """
        index = cls(path, matrix, _make_graph(numbers), seed)
        index._add(0, progress)
        return index

    def grow(self, path: Path, matrix: NDArray[np.float16], progress: Share | None = None) -> Index:
        """Extend this index to `matrix`, which begins with its rows, and write the result to `path`; otherwise as `build`."""
        graph = _make_graph(self._graph.ndim)
        graph.load(self._graph.save() if self._kept is None else bytes(self._kept))
        index = Index(path, matrix, graph, self._seed)
        index._add(len(self.matrix), progress)
        return index

    def _add(self, count: int, progress: Share | None) -> None:
        """Add all rows but the first `count` to the graph, and write the file."""
        matrix = self.matrix
        step = max(1, _BLOCK // matrix.shape[1])
        for first in range(count, len(matrix), step):
            small = self._sketch_rows(matrix[first : first + step])
            self._graph.add(np.arange(first, first + len(small), dtype=np.uint64), small)
            if progress is not None:
                progress(min(1.0, (first + step) / len(matrix)))
        facts = {"models": len(matrix), "size": matrix.shape[1], "numbers": self._graph.ndim, "seed": self._seed}
        _write(self.path, facts | {"rows": _checksum_of(matrix)}, self._graph)

    @classmethod
    def open(cls, path: Path, matrix: NDArray[np.float16]) -> Index:
        """Open the index of `matrix`, float16 [models, D], or of its first rows; the graph is memory-mapped.

        Raises SpaceError for a file that is missing, damaged, of another version, or built from other rows, and ConfigError
        where usearch is not installed.
        """
        try:
            with open_regular(path) as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise SpaceError(f"The index {path} can't be read ({error}); build it again.") from error
        facts, start = _read_header(path, content)
        count = len(matrix)
        matrix = matrix[: facts["models"]] if facts["models"] >= 0 else matrix[:0]
        if (facts["models"], facts["size"], facts["rows"]) != (len(matrix), matrix.shape[1], _checksum_of(matrix)) or not count:
            raise SpaceError(f"The index {path} was built from other fingerprints; build it again.")
        graph = _make_graph(facts["numbers"])
        view = memoryview(content)[start:]
        try:
            graph.view(view)
        except (RuntimeError, ValueError) as error:
            raise _damaged(path) from error
        if len(graph) != len(matrix) or graph.ndim != facts["numbers"]:
            raise _damaged(path)
        return cls(path, matrix, graph, facts["seed"], view)

    def nearest(self, query: NDArray[np.floating], n: int = 10, candidates: int = _EFFORT) -> Found:
        """Search as `search.find_nearest`, but only among the `candidates` rows (at least `n`) that the graph proposes."""
        check_shapes(query, self.matrix)
        proposed = self.propose(np.asarray(query)[None], max(n, candidates))[0]
        return rerank(query, self.matrix, proposed, n)

    def propose(self, rows: NDArray[np.floating], count: int = 32) -> NDArray[np.intp]:
        """Return the rows of the matrix that the graph finds nearest to each of `rows`, float [m, D]: intp [m, up to `count`].

        Where it finds fewer for one of them, its first is repeated.
        """
        self._graph.expansion_search = max(_EFFORT, count)
        found = self._graph.search(self._sketch_rows(rows), min(count, len(self.matrix)))
        keys = np.atleast_2d(found.keys)
        counts: Any = getattr(found, "counts", keys.shape[1])  # per query; keys beyond it are undefined
        short = np.arange(keys.shape[1]) >= np.reshape(counts, (-1, 1))
        return np.where(short, keys[:, :1], keys).astype(np.intp)

    def _sketch_rows(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        wide = np.empty(rows.shape, np.float32)
        if rows.dtype == np.float16:
            widen(np.ascontiguousarray(rows), wide)
        else:
            wide[:] = rows
        small: NDArray[np.float32] = wide @ self._signs
        return small


def _make_graph(numbers: int) -> Any:
    try:
        from usearch.index import Index as Graph
    except ImportError as error:
        raise ConfigError("Approximate search needs usearch: pip install 'onnxspace[search]', or use exact search.") from error
    return Graph(
        ndim=numbers, metric="cos", dtype="i8", connectivity=_DEGREE, expansion_add=_EFFORT_ADD, expansion_search=_EFFORT,
        enable_key_lookups=False,
    )  # fmt: skip


def _checksum_of(matrix: NDArray[np.float16]) -> str:
    """SHA-256 of the shape and up to 1,000 rows spread over the matrix: detects another matrix, but not every changed row."""
    picked = np.unique(np.linspace(0, len(matrix) - 1, min(len(matrix), _SAMPLED)).astype(np.intp))
    return hashlib.sha256(repr(matrix.shape).encode() + matrix[picked].astype("<f2").tobytes()).hexdigest()


def _write(path: Path, facts: dict[str, Any], graph: Any) -> None:
    content = graph.save()
    header = json.dumps(facts | {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}, sort_keys=True).encode()
    try:
        replace_file(path, _FIXED.pack(_MAGIC, FORMAT, len(header)) + header, content)
    except OSError as error:
        raise OutputError(error.errno, f"{path} can't be written ({error.strerror}); free some space.") from error


def _read_header(path: Path, content: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header, and the offset of the graph, of a file whose checksum is right."""
    if len(content) < _FIXED.size or content[:8] != _MAGIC:
        raise SpaceError(f"{path} is not an index of fingerprints; build one with `onnxspace space index`.")
    _, version, length = _FIXED.unpack_from(content)
    if version != FORMAT:
        raise SpaceError(
            f"The index {path} has format {version}, this onnxspace reads {FORMAT}; update onnxspace or build it again."
        )
    start = _FIXED.size + length
    try:
        facts = json.loads(content[_FIXED.size : start] if length <= _MOST_HEADER else b"")
        whole = all(type(facts[name]) is int for name in ("models", "size", "numbers", "seed", "bytes"))
        if not whole or not 1 <= facts["numbers"] <= 4096 or len(content) - start != facts["bytes"]:
            raise _damaged(path)
        if not isinstance(facts["rows"], str) or hashlib.sha256(memoryview(content)[start:]).hexdigest() != facts["sha256"]:
            raise _damaged(path)
        return facts, start
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> SpaceError:
    return SpaceError(f"The index {path} is damaged; build it again.")
