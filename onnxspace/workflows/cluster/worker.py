"""What a worker process does: open a model from the shared folder, compute maps of some images, leave them there."""

from __future__ import annotations

import socket
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ClusterError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.methods import Method, Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.workflows.cluster.chunk import Chunk, path_of, write_chunk
from onnxspace.workflows.cluster.reply import answering

_KEPT = 2  # models that a process holds ready: pieces of one come one after the other
_one = Lock()  # Torch's settings are the whole process's, so that a process computes one piece at a time
_ready: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class RunSpec:
    """What holds for all models of a run; `images` is a .npy file in the shared `folder` or beside it."""

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
    """A model: where it lies, what it must be, where it is cut and how it is fed, and the `key` of its maps."""

    path: str
    name: str
    sha256: str
    encoder: Encoder
    said: ModelOptions
    key: str


@dataclass(frozen=True)
class ImageRange:
    """Images of a model: from `first` on about `count`, as many as fill batches, but none from `end` on.

    `size` is the batch's where earlier maps of the model have settled it.
    """

    first: int
    count: int
    end: int
    size: int | None


@answering
def explain(command: RunSpec, subject: ModelTask, share: ImageRange) -> Chunk:
    """Compute a share of a model's unit maps and write them; a file that is there already is not computed again."""
    from distributed import get_worker

    with _one:
        _settle_threads(command.threads, get_worker())
        _check_versions(command)
        probes = _probes(command.images, command.probe, command.sha256)
        engines = _sized(_engines(command, subject, probes), share.size)
        last = min(share.end, share.first + -(-share.count // engines.size) * engines.size)
        piece = Chunk(share.first, last - share.first, engines.size, (), dict(engines.fallback))
        if piece.rows == 0 or path_of(Path(command.folder), subject.key, piece).exists():
            return piece
        rows, errors = _computed(engines, share.first, last)
        piece = Chunk(piece.first, piece.rows, piece.size, errors, piece.fallback)
        write_chunk(Path(command.folder), subject.key, piece, rows)
        return piece


@answering
def processors(compute: Compute, threads: int | None, dask_worker: Any = None) -> list[list[object]]:
    """The processors of this worker, which Dask hands over, as `recipe` knows them."""
    from onnxspace.attribution import cache_key as recipe

    _settle_threads(threads, dask_worker)
    return recipe.processors(compute)


def _settle_threads(threads: int | None, own: Any) -> None:
    import torch

    torch.set_num_threads(own.state.nthreads if threads is None else threads)


def _check_versions(command: RunSpec) -> None:
    from onnxspace.attribution.cache_key import versions

    for name, here in versions().items():
        there = dict(command.versions).get(name, "")
        if here != there:
            raise ClusterError(
                f"The worker on {socket.gethostname()} has {name} {here or '(none)'}, and {there or 'none'} is used where "
                "the run was started. Install equal versions on all machines."
            )


@cache
def _probes(path: str, name: str, sha256: str) -> Probes:
    """The probe images, mapped from the shared folder and checked once by every process."""
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"The worker on {socket.gethostname()} can't read {path}. Name an --output in a folder that all machines share."
        ) from error
    probes = Probes(name, images)
    if images.ndim != 4 or images.dtype != np.uint8 or probes.sha256 != sha256:
        raise ClusterError(f"{path} holds other images on {socket.gethostname()} than where the run was started.")
    return probes


def _sized(engines: Any, size: int | None) -> Any:
    return engines if size is None else replace(engines, size=size)


def _engines(command: RunSpec, subject: ModelTask, probes: Probes) -> Any:
    """The converted model, ready to compute; the last few stay."""
    name = repr((command, subject))
    if (found := _ready.pop(name, None)) is None:
        while len(_ready) >= _KEPT:
            _ready.popitem(last=False)
        found = _compute_maps(command, subject, probes)
    _ready[name] = found
    return found


def _compute_maps(command: RunSpec, subject: ModelTask, probes: Probes) -> Any:
    from onnxspace.attribution.maps import VERIFIED_IMAGES, engines_for
    from onnxspace.model.model import open_model, rename_model
    from onnxspace.torchgraph.encoder_graph import convert

    model = rename_model(open_model(subject.path, None, subject.said), subject.name)
    if model.sha256 != subject.sha256:
        raise ModelError(
            f"{subject.path} is another file on {socket.gethostname()} than where the run was started. "
            "Put models in a folder that all machines share, and don't change them meanwhile."
        )
    converted = convert(model, np.asarray(probes.images[:VERIFIED_IMAGES]), subject.encoder)
    setup, execution = Setup(probes, command.method, command.options), Execution(command.compute, command.batch_size)
    return engines_for(model, converted, setup, execution)


def _computed(engines: Any, first: int, end: int) -> tuple[NDArray[np.float16], tuple[float, ...]]:
    from onnxspace.storage.map_file import to_unit_maps

    rows: list[NDArray[np.float16]] = []
    errors: list[float] = []
    for found in engines.maps(first, end):
        rows.append(to_unit_maps(found.maps)[0])
        errors += [] if found.errors is None else found.errors.tolist()
    return np.concatenate(rows), tuple(errors)
