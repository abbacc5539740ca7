"""Tasks of worker processes: compute maps of a model for a range of images and write them to the shared folder."""

from __future__ import annotations

import socket
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ClusterError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.methods import Method, Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.cluster.chunk import Chunk, chunk_path, write_chunk
from onnxspace.workflows.cluster.reply import return_errors

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.client import Cluster

_KEPT = 2  # converted models that a process caches: tasks of one model come in succession
_one = Lock()  # Torch's settings hold for the whole process, so a process computes one task at a time
_ready: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class RunSpec:
    """What is common to all tasks of a run.

    `folder` is the shared folder, `images` the `.npy` file of the probe images, which are named `probe` and have the digest
    `sha256`; `threads` is as in `Cluster`, `versions` are those of the client's libraries.
    """

    folder: str
    images: str
    probe: str
    sha256: str
    method: Method
    options: Options | None
    compute: Compute
    batch_size: int | None
    threads: int | None
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ModelTask:
    """A model to be explained: the absolute path, name and digest of its file, its encoder and options, and the `key` of its maps."""

    path: str
    name: str
    sha256: str
    encoder: Encoder
    options: ModelOptions
    key: str


@dataclass(frozen=True)
class ImageRange:
    """A range of probe images: about `count` from `first` on, rounded up to whole batches, before `end`.

    `size` is the batch size of the model's earlier maps (None: there are none).
    """

    first: int
    count: int
    end: int
    size: int | None


@return_errors
def explain_images(run_spec: RunSpec, task: ModelTask, image_range: ImageRange) -> Chunk:
    """Compute a model's unit maps of a range of images, write them as a chunk file unless it exists, and return its header.

    Raises ModelError, ClusterError, OutputError.
    """
    from distributed import get_worker

    with _one:
        _set_threads(run_spec.threads, get_worker())
        _check_versions(run_spec)
        probes = _read_probes(run_spec.images, run_spec.probe, run_spec.sha256)
        engines = _set_batch_size(_prepare_engines(run_spec, task, probes), image_range.size)
        last = min(image_range.end, image_range.first + -(-image_range.count // engines.size) * engines.size)
        chunk = Chunk(image_range.first, last - image_range.first, engines.size, (), dict(engines.fallback))
        if chunk.rows == 0 or chunk_path(Path(run_spec.folder), task.key, chunk).exists():
            return chunk
        rows, errors = _compute_maps(engines, image_range.first, last)
        chunk = Chunk(chunk.first, chunk.rows, chunk.size, errors, chunk.fallback)
        write_chunk(Path(run_spec.folder), task.key, chunk, rows)
        return chunk


@return_errors
def describe_processors(compute: Compute, threads: int | None, dask_worker: Any = None) -> list[list[object]]:
    """Describe the processors of this worker, which Dask passes as `dask_worker`, as `cache_key.describe_processors`."""
    from onnxspace.attribution import cache_key

    _set_threads(threads, dask_worker)
    return cache_key.describe_processors(compute)


def _set_threads(threads: int | None, dask_worker: Any) -> None:
    import torch

    torch.set_num_threads(dask_worker.state.nthreads if threads is None else threads)


def list_processors(cluster: Cluster, compute: Compute) -> list[object]:
    """Describe the processors of the current workers, each kind once, as `cache_key.run_key` takes them. Raises ClusterError."""
    kinds = {repr(one): one for one in cluster.run_on_all(describe_processors, compute, cluster.threads).values()}
    return [processor for _, one in sorted(kinds.items()) for processor in one]


def _check_versions(run_spec: RunSpec) -> None:
    from onnxspace.attribution.cache_key import library_versions

    for name, here in library_versions().items():
        there = dict(run_spec.versions).get(name, "")
        if here != there:
            raise ClusterError(
                f"The worker on {socket.gethostname()} has {name} {here or '(none)'}, and {there or 'none'} is used where "
                "the run was started. Install equal versions on all machines."
            )


@cache
def _read_probes(path: str, name: str, sha256: str) -> Probes:
    """Memory-map the probe images from the shared folder; their digest is checked once per process."""
    try:
        images: NDArray[np.uint8] = map_array(path)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"The worker on {socket.gethostname()} can't read {path}. Name an --output in a folder that all machines share."
        ) from error
    probes = Probes(name, images)
    if images.ndim != 4 or images.dtype != np.uint8 or probes.sha256 != sha256:
        raise ClusterError(f"{path} holds other images on {socket.gethostname()} than where the run was started.")
    return probes


def _set_batch_size(engines: Any, size: int | None) -> Any:
    return engines if size is None else replace(engines, size=size)


def _prepare_engines(run_spec: RunSpec, task: ModelTask, probes: Probes) -> Any:
    """Convert a model for computing; the last few are cached."""
    name = repr((run_spec, task))
    if (found := _ready.pop(name, None)) is None:
        while len(_ready) >= _KEPT:
            _ready.popitem(last=False)
        found = _convert_model(run_spec, task, probes)
    _ready[name] = found
    return found


def _convert_model(run_spec: RunSpec, task: ModelTask, probes: Probes) -> Any:
    from onnxspace.attribution.maps import VERIFIED_IMAGES, engines_for
    from onnxspace.model.model import open_model, rename_model
    from onnxspace.torchgraph.encoder_graph import convert

    model = rename_model(open_model(task.path, None, task.options), task.name)
    if model.sha256 != task.sha256:
        raise ModelError(
            f"{task.path} is another file on {socket.gethostname()} than where the run was started. "
            "Put models in a folder that all machines share, and don't change them meanwhile."
        )
    converted = convert(model, np.asarray(probes.images[:VERIFIED_IMAGES]), task.encoder)
    setup, execution = Setup(probes, run_spec.method, run_spec.options), Execution(run_spec.compute, run_spec.batch_size)
    return engines_for(model, converted, setup, execution)


def _compute_maps(engines: Any, first: int, end: int) -> tuple[NDArray[np.float16], tuple[float, ...]]:
    from onnxspace.storage.map_file import to_unit_maps

    rows: list[NDArray[np.float16]] = []
    errors: list[float] = []
    for found in engines.maps(first, end):
        rows.append(to_unit_maps(found.maps)[0])
        errors += [] if found.errors is None else found.errors.tolist()
    return np.concatenate(rows), tuple(errors)
