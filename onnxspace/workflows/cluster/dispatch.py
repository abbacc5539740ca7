"""Distribution of maps over a cluster: models are opened ahead, split into image ranges, and their chunks collected in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.cache_key import library_versions
from onnxspace.attribution.maps import remarks_on
from onnxspace.errors import ClusterError, OnnxspaceError, OutputError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import BASELINES, Options
from onnxspace.inputs.protocol import Setup
from onnxspace.storage.atomic import place, write_array
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter
from onnxspace.storage.resume import JOURNAL
from onnxspace.workflows.cluster.chunk import Chunk, chunk_path, drop_chunks, find_chunks, read_chunk
from onnxspace.workflows.cluster.submission import Cluster, Future
from onnxspace.workflows.cluster.worker import ImageRange, ModelTask, RunSpec, explain_images
from onnxspace.workflows.requests import DescribedModel

#: Approximate images of a chunk: more are costly to repeat when a worker ends, fewer are not worth converting a model for.
IMAGES = 128
#: Seconds after which a file that a worker has written must be visible here: network file systems cache missing entries.
SEEN_WITHIN = 60.0


@dataclass
class _ModelProgress:
    """The state of a model: its chunks by first image, its unfinished tasks, and the batch size once it is known."""

    task: ModelTask
    shown: str
    chunks: dict[int, Chunk] = field(default_factory=dict)
    open_tasks: set[Future] = field(default_factory=set)
    size: int | None = None
    error: Exception | None = None


class Dispatcher:
    """Distributes the maps of one run over the workers of a cluster, and collects them.

    `run_spec` holds what is common to all models, `images` × `pixels` is the shape of a model's maps; `advance` is called with a
    number of finished images and the model's name.
    """

    def __init__(self, cluster: Cluster, run_spec: RunSpec, images: int, pixels: int) -> None:
        self.cluster, self.run_spec = cluster, run_spec
        self.images, self.pixels, self.folder = images, pixels, Path(run_spec.folder)
        self.advance: Callable[[int, str], None] = lambda images, name: None
        self._models: dict[str, _ModelProgress] = {}
        self._model_of: dict[Future, _ModelProgress] = {}
        self._started: set[str] = set()

    def width(self) -> int:
        """Return how many models to open ahead of their turn, so that no worker is idle."""
        return 2 * self.cluster.workers() + 2

    def start(self, task: ModelTask, shown: str) -> None:
        """Submit the missing maps of a model, once in a run. `shown` is its path as the user gave it. Raises ClusterError."""
        if task.key in self._started:
            return
        self._started.add(task.key)
        journal = Journal((self.folder / f"{task.key}.npy").with_suffix(JOURNAL), self.images)
        if journal.remarks is None:
            rows = sum(shard.rows for shard in journal.shards)
            model = self._add_model(task, shown, journal.shards[-1].rows if journal.shards else None)
            self._submit_missing(model, rows)

    def _add_model(self, task: ModelTask, shown: str, size: int | None) -> _ModelProgress:
        progress = _ModelProgress(task, shown, {p.first: p for p in find_chunks(self.folder, task.key, self.pixels)}, size=size)
        sizes = [p.size for p in progress.chunks.values()]
        progress.size = size or (sizes[0] if sizes else None)
        self._models[task.key] = progress
        return progress

    def _submit_missing(self, model: _ModelProgress, rows: int) -> None:
        """Submit the image ranges from `rows` on that no chunk holds; only the first while the batch size is unknown."""
        for first, end in self._find_gaps(model, rows):
            about = IMAGES if model.size is None else -(-IMAGES // model.size) * model.size
            for begin in range(first, end, about):
                image_range = ImageRange(begin, min(about, end - begin), end, model.size)
                future = self.cluster.submit(explain_images, self.run_spec, model.task, image_range)
                model.open_tasks.add(future)
                self._model_of[future] = model
                if model.size is None:
                    return

    def _find_gaps(self, model: _ModelProgress, rows: int) -> Iterator[tuple[int, int]]:
        begin = rows
        while begin < self.images:
            while (chunk := _find_chunk(model, begin)) is not None and chunk.rows:
                begin = chunk.end
            end = min((first for first in model.chunks if first > begin), default=self.images)
            if begin < end:
                yield begin, end
            begin = end

    def collect(self, task: ModelTask, shown: str, setup: Setup, writer: MapWriter) -> tuple[str, ...]:
        """Append a model's missing maps to `writer` in order, and return warnings about them.

        `shown` is the model's path as the user gave it. Raises the workers' errors and ClusterError.
        """
        model = self._models.get(task.key) or self._add_model(task, shown, writer.batch or None)
        self._started.add(task.key)
        errors, remarks = list(writer.errors), dict[str, None]()
        fallback: Mapping[str, int] | None = None
        while writer.rows < self.images or fallback is None:
            chunk = self._wait_for_chunk(model, writer.rows)
            past, chunk = writer.rows - chunk.first, self._append(model, chunk, writer)
            errors += chunk.errors[past:]
            remarks |= dict.fromkeys(chunk.remarks)
            fallback = chunk.fallback
        self._drop_model(model)
        drop_chunks(self.folder, task.key)
        return (*remarks_on(setup, fallback, errors), *remarks)

    def _wait_for_chunk(self, model: _ModelProgress, rows: int) -> Chunk:
        """Wait for the chunk that holds the image `rows`."""
        while (chunk := _find_chunk(model, rows)) is None:
            if model.error is not None:
                self._drop_model(model)
                raise model.error
            if not model.open_tasks and rows < self.images:
                self._submit_missing(model, rows)
            elif not model.open_tasks:  # all maps exist already, but their warnings are not known
                future = self.cluster.submit(explain_images, self.run_spec, model.task, ImageRange(rows, 0, rows, model.size))
                model.open_tasks.add(future)
                self._model_of[future] = model
            self._record_result(self.cluster.next())
        return chunk

    def _record_result(self, future: Future) -> None:
        """Record the result of a task: a chunk or an error."""
        model = self._model_of.pop(future, None)
        if model is None:
            return
        model.open_tasks.discard(future)
        try:
            chunk: Chunk = self.cluster.result(future, model.shown)
        except (ClusterError, OutputError):
            raise
        except OnnxspaceError as error:
            model.error = _restore_path(error, model)
            return
        except Exception as error:  # a defect in a library below must not lose the other models' work
            model.error = error
            return
        model.chunks[chunk.first] = chunk
        self.advance(chunk.rows, model.task.name)
        if model.size is None:
            model.size = chunk.size
            self._submit_missing(model, chunk.end)

    def _append(self, model: _ModelProgress, chunk: Chunk, writer: MapWriter) -> Chunk:
        """Append a chunk's maps from the writer's next image on, batch by batch as a single machine does; returns its whole header."""
        if chunk.rows == 0:
            return chunk
        found, rows = self._read_rows(model, chunk)
        for begin in range(writer.rows - chunk.first, chunk.rows, chunk.size):
            end = min(begin + chunk.size, chunk.rows)
            writer.append(rows[begin:end], found.errors[begin:end])
        return found

    def _read_rows(self, model: _ModelProgress, chunk: Chunk) -> tuple[Chunk, NDArray[np.float16]]:
        path = chunk_path(self.folder, model.task.key, chunk)
        until = time.monotonic() + SEEN_WITHIN
        while (found := read_chunk(path, self.pixels)) is None:
            if self.cluster.local or time.monotonic() > until:
                raise ClusterError(
                    f"{path}, which a worker has written, is not visible here. Name an --output that all machines share."
                )
            time.sleep(0.5)
        return found

    def _drop_model(self, model: _ModelProgress) -> None:
        for future in model.open_tasks:
            self._model_of.pop(future, None)
            self.cluster.cancel(future)
        self._models.pop(model.task.key, None)


def _find_chunk(model: _ModelProgress, row: int) -> Chunk | None:
    """Find the chunk that holds an image, or the empty one there, which only has the warnings' facts."""
    fitting = (p for p in model.chunks.values() if p.first <= row < p.end or (p.rows == 0 and p.first == row))
    return next(fitting, None)


def dispatcher_for(
    cluster: Cluster, folder: Path, setup: Setup, execution: Execution, images: Path | None = None
) -> Dispatcher:  # fmt: skip
    """Prepare a run on a cluster, with chunks in the shared `folder`.

    `images` is a `.npy` file of the probe images (None: they are written to `folder` once, for all workers to memory-map).
    Raises OutputError.
    """
    folder, probes = Path(_absolute_path(folder)), setup.probes
    if images is None:
        images = folder / f"probes-{probes.sha256[:16]}.npy"
        if not images.exists():
            partial = images.with_name(f".{images.name}.partial")
            write_array(partial, probes.images)
            place(partial, images)
    run_spec = RunSpec(
        str(folder), _absolute_path(images), probes.name, probes.sha256, setup.method, _with_absolute_baseline(setup.options),
        execution.compute, execution.batch_size,
        cluster.threads, tuple(library_versions().items()), execution.limits, setup.target,
    )  # fmt: skip
    return Dispatcher(cluster, run_spec, len(probes), probes.size**2)


def _with_absolute_baseline(options: Options | None) -> Options | None:
    """The options with the absolute path of a baseline that is a file."""
    if options is None or options.baseline is None or options.baseline in BASELINES:
        return options
    return replace(options, baseline=_absolute_path(options.baseline))


def _restore_path(error: OnnxspaceError, model: _ModelProgress) -> OnnxspaceError:
    """Replace the model's absolute path in an error's message by the path that the user gave."""
    error.args = tuple(part.replace(model.task.path, model.shown) if isinstance(part, str) else part for part in error.args)
    return error


def make_task(model: DescribedModel) -> ModelTask:
    """Return the task of a model for workers."""
    located, encoder = model.located, {"tensors": model.tensors, "why": model.why, "deviations": model.deviations}
    return ModelTask(_absolute_path(located.file), located.name, model.record.sha256, encoder, located.options, model.key)


def _absolute_path(path: str | Path) -> str:
    """The absolute path; links are not resolved, so that external data and sidecar files are found."""
    return str(Path.cwd() / path)
