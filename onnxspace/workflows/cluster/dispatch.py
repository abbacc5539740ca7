"""Models on their way through a cluster: opened here ahead of their turn, handed out in pieces, gathered in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.cache_key import versions
from onnxspace.attribution.maps import remarks_on
from onnxspace.errors import ClusterError, OnnxspaceError, OutputError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import BASELINES, Options
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.storage.atomic import place, write_array
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter
from onnxspace.storage.resume import JOURNAL
from onnxspace.workflows.cluster.chunk import Chunk, chunks_of, drop_chunks, path_of, read_chunk
from onnxspace.workflows.cluster.client import Cluster, Future
from onnxspace.workflows.cluster.worker import ImageRange, ModelTask, RunSpec, explain

#: Images of a piece, about: long beside a conversion is costly to repeat, short is costly to convert for.
IMAGES = 128
#: Seconds after which a file that a worker has written must be seen here: network file systems remember what was not there.
SEEN_WITHIN = 60.0
_Made = TypeVar("_Made")
#: A model's path, its name, and the encoder that was asked for.
Turn = tuple[Path, str, str | None]


@dataclass
class _Model:
    """What is known of a model under way: pieces that are there, shares that are out, the batch once it is settled."""

    subject: ModelTask
    shown: str
    pieces: dict[int, Chunk] = field(default_factory=dict)
    out: set[Future] = field(default_factory=set)
    size: int | None = None
    error: Exception | None = None


class Prefetcher(Generic[_Made]):
    """Turns that are begun some before they are asked for; what one raises, it raises when it is asked for."""

    def __init__(
        self, turns: Sequence[Turn], begin: Callable[[Path, str, str | None], _Made], width: Callable[[], int]
    ) -> None:
        self._turns, self._begin, self._width = list(turns), begin, width
        self._begun: dict[Turn, _Made | Exception] = {}
        self._next = 0

    def take(self, turn: Turn) -> _Made:
        last = self._turns.index(turn) + self._width()
        while self._next <= min(last, len(self._turns) - 1):
            one = self._turns[self._next]
            self._next += 1
            try:
                self._begun[one] = self._begin(*one)
            except Exception as error:  # another turn's: it is reported when that comes
                self._begun[one] = error
        found = self._begun.pop(turn)
        if isinstance(found, Exception):
            raise found
        return found


class Dispatcher:
    """The workers' side of one run: `advance` is told of images as they are done, whatever their model."""

    def __init__(self, cluster: Cluster, command: RunSpec, images: int, pixels: int) -> None:
        self.cluster, self.command = cluster, command
        self.images, self.pixels, self.folder = images, pixels, Path(command.folder)
        self.advance: Callable[[int, str], None] = lambda images, name: None
        self._models: dict[str, _Model] = {}
        self._home: dict[Future, _Model] = {}
        self._begun: set[str] = set()

    def width(self) -> int:
        """How many models to open before their turn, so that no worker waits."""
        return 2 * self.cluster.workers() + 2

    def start(self, subject: ModelTask, shown: str) -> None:
        """Hand out what is missing of a model's maps, once in a run. `shown` is its path as the user gave it."""
        if subject.key in self._begun:
            return
        self._begun.add(subject.key)
        journal = Journal((self.folder / f"{subject.key}.npy").with_suffix(JOURNAL), self.images)
        if journal.remarks is None:
            rows = sum(shard.rows for shard in journal.shards)
            model = self._model(subject, shown, journal.shards[-1].rows if journal.shards else None)
            self._hand_out(model, rows)

    def _model(self, subject: ModelTask, shown: str, size: int | None) -> _Model:
        made = _Model(subject, shown, {p.first: p for p in chunks_of(self.folder, subject.key, self.pixels)}, size=size)
        sizes = [p.size for p in made.pieces.values()]
        made.size = size or (sizes[0] if sizes else None)
        self._models[subject.key] = made
        return made

    def _hand_out(self, model: _Model, rows: int) -> None:
        """Submit what no piece holds, from the image `rows` on; before the size of batches is known, the first part only."""
        for first, end in self._gaps(model, rows):
            about = IMAGES if model.size is None else -(-IMAGES // model.size) * model.size
            for begin in range(first, end, about):
                share = ImageRange(begin, min(about, end - begin), end, model.size)
                future = self.cluster.submit(explain, self.command, model.subject, share)
                model.out.add(future)
                self._home[future] = model
                if model.size is None:
                    return

    def _gaps(self, model: _Model, rows: int) -> Iterator[tuple[int, int]]:
        begin = rows
        while begin < self.images:
            while (piece := _holding(model, begin)) is not None and piece.rows:
                begin = piece.end
            end = min((first for first in model.pieces if first > begin), default=self.images)
            if begin < end:
                yield begin, end
            begin = end

    def collect(self, subject: ModelTask, shown: str, setup: Setup, writer: MapWriter) -> tuple[str, ...]:
        """Append a model's missing maps to `writer`, in order; gives what is to be said of them. Raises what its workers did."""
        model = self._models.get(subject.key) or self._model(subject, shown, writer.batch or None)
        self._begun.add(subject.key)
        errors = list(writer.errors)
        fallback: Mapping[str, int] | None = None
        while writer.rows < self.images or fallback is None:
            piece = self._next_piece(model, writer.rows)
            errors += self._append(model, piece, writer, writer.rows - piece.first)
            fallback = piece.fallback
        self._end(model)
        drop_chunks(self.folder, subject.key)
        return tuple(remarks_on(setup, fallback, errors))

    def _next_piece(self, model: _Model, rows: int) -> Chunk:
        """The piece that holds the image `rows`, as soon as it is there."""
        while (piece := _holding(model, rows)) is None:
            if model.error is not None:
                self._end(model)
                raise model.error
            if not model.out and rows < self.images:
                self._hand_out(model, rows)
            elif not model.out:  # all maps are there already, but not what is to be said of them
                future = self.cluster.submit(explain, self.command, model.subject, ImageRange(rows, 0, rows, model.size))
                model.out.add(future)
                self._home[future] = model
            self._take(self.cluster.next())
        return piece

    def _take(self, future: Future) -> None:
        """Note what a share has become."""
        model = self._home.pop(future, None)
        if model is None:
            return
        model.out.discard(future)
        try:
            piece: Chunk = self.cluster.result(future, model.shown)
        except (ClusterError, OutputError):
            raise
        except OnnxspaceError as error:
            model.error = _named(error, model)
            return
        except Exception as error:  # a defect in a library below must not lose the other models' work
            model.error = error
            return
        model.pieces[piece.first] = piece
        self.advance(piece.rows, model.subject.name)
        if model.size is None:
            model.size = piece.size
            self._hand_out(model, piece.end)

    def _append(self, model: _Model, piece: Chunk, writer: MapWriter, past: int) -> list[float]:
        """The piece's rows but the first `past`, batch by batch, as one machine appends them; gives their errors."""
        if piece.rows == 0:
            return []
        found, rows = self._read(model, piece)
        for begin in range(past, piece.rows, piece.size):
            end = min(begin + piece.size, piece.rows)
            writer.append(rows[begin:end], found.errors[begin:end])
        return list(found.errors[past:])

    def _read(self, model: _Model, piece: Chunk) -> tuple[Chunk, NDArray[np.float16]]:
        path = path_of(self.folder, model.subject.key, piece)
        until = time.monotonic() + SEEN_WITHIN
        while (found := read_chunk(path, self.pixels)) is None:
            if self.cluster.local or time.monotonic() > until:
                raise ClusterError(
                    f"{path}, which a worker has written, is not there. Name an --output that all machines share."
                )
            time.sleep(0.5)
        return found

    def _end(self, model: _Model) -> None:
        for future in model.out:
            self._home.pop(future, None)
            self.cluster.forget(future)
        self._models.pop(model.subject.key, None)


def _holding(model: _Model, row: int) -> Chunk | None:
    """The piece that holds an image; with no rows itself, what was said of all."""
    fitting = (p for p in model.pieces.values() if p.first <= row < p.end or (p.rows == 0 and p.first == row))
    return next(fitting, None)


def dispatcher_for(
    cluster: Cluster, folder: Path, setup: Setup, execution: Execution, images: Path | None = None
) -> Dispatcher:  # fmt: skip
    """Prepare a run: the probe images lie in `images` (None: they are written to `folder` once, for all workers to map)."""
    folder, probes = Path(_anywhere(folder)), setup.probes
    if images is None:
        images = folder / f"probes-{probes.sha256[:16]}.npy"
        if not images.exists():
            beside = images.with_name(f".{images.name}.partial")
            write_array(beside, probes.images)
            place(beside, images)
    command = RunSpec(
        str(folder), _anywhere(images), probes.name, probes.sha256, setup.method, _absolute(setup.options),
        execution.compute, execution.batch_size,
        cluster.threads, tuple(versions().items()),
    )  # fmt: skip
    return Dispatcher(cluster, command, len(probes), probes.size**2)


def _absolute(options: Options | None) -> Options | None:
    """Options whose baseline, where it is a file, is found from anywhere."""
    if options is None or options.baseline is None or options.baseline in BASELINES:
        return options
    return replace(options, baseline=_anywhere(options.baseline))


def _named(error: OnnxspaceError, model: _Model) -> OnnxspaceError:
    """The error with the model's path as the user gave it."""
    error.args = tuple(part.replace(model.subject.path, model.shown) if isinstance(part, str) else part for part in error.args)
    return error


def task_of(model: Model, encoder: Encoder, key: str, said: ModelOptions) -> ModelTask:
    """A model as workers are told of it; `said` is what its users say of it."""
    return ModelTask(_anywhere(model.path), model.name, model.sha256, encoder, said, key)


def _anywhere(path: str | Path) -> str:
    """A path that means the same in any folder; links stay, so that external data and sidecars are found."""
    return str(Path.cwd() / path)
