"""Maps of a model for a range of images, written as a chunk to the folder that a run on a cluster shares."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.cache_key import library_versions
from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.attribution.subject import Subject, find_subject
from onnxspace.errors import ClusterError, ModelError
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import open_model, rename_model
from onnxspace.model.named import NAMED
from onnxspace.storage.map_file import to_unit_maps
from onnxspace.storage.regular_files import map_array
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.workflows.cluster.chunk import Chunk, chunk_path, write_chunk
from onnxspace.workflows.requests import decode_options

_KEPT = 2  # converted models that a process caches: tasks of one model come in succession
_ready: OrderedDict[str, tuple[Engines, Subject]] = OrderedDict()


def compute_chunk(run: Mapping[str, Any], model: Mapping[str, Any], image_range: Mapping[str, Any]) -> Chunk:
    """Compute a model's unit maps of a range of images, write them as a chunk file unless it exists, and return its header.

    `run`, `model` and `image_range` are a RunSpec, a ModelTask and an ImageRange of `cluster.worker` as JSON. Raises ModelError,
    ClusterError, OutputError.
    """
    _check_versions(run)
    probes = _read_probes(run["images"], run["probe"], run["sha256"])
    prepared, subject = _prepare_engines(run, model, probes)
    engines = _set_batch_size(prepared, image_range["size"])
    first, end = image_range["first"], image_range["end"]
    last = min(end, first + -(-image_range["count"] // engines.size) * engines.size)
    chunk = Chunk(first, last - first, engines.size, (), dict(engines.fallback))
    if chunk.rows == 0 or chunk_path(Path(run["folder"]), model["key"], chunk).exists():
        return chunk
    rows, errors = _compute_maps(engines, first, last)
    chunk = replace(chunk, errors=errors, remarks=(*engines.uncompiled, *subject.shift))
    write_chunk(Path(run["folder"]), model["key"], chunk, rows)
    return chunk


def _check_versions(run: Mapping[str, Any]) -> None:
    for name, here in library_versions().items():
        there = dict(run["versions"]).get(name, "")
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


def _set_batch_size(engines: Engines, size: int | None) -> Engines:
    return engines if size is None else replace(engines, size=size)


def _prepare_engines(run: Mapping[str, Any], model: Mapping[str, Any], probes: Probes) -> tuple[Engines, Subject]:
    """Convert a model for computing; the last few are cached."""
    name = repr((run, model))
    if (found := _ready.pop(name, None)) is None:
        while len(_ready) >= _KEPT:
            _ready.popitem(last=False)
        found = _convert_model(run, model, probes)
    _ready[name] = found
    return found


def _convert_model(run: Mapping[str, Any], task: Mapping[str, Any], probes: Probes) -> tuple[Engines, Subject]:
    given = task["encoder"]
    encoder = Encoder(tuple(given["tensors"]), given["why"], tuple(given["deviations"]))
    named = encoder.tensors if encoder.why == NAMED else None
    model = rename_model(open_model(task["path"], named, decode_options(task["options"])), task["name"])
    if model.sha256 != task["sha256"]:
        raise ModelError(
            f"{task['path']} is another file on {socket.gethostname()} than where the run was started. "
            "Put models in a folder that all machines share, and don't change them meanwhile."
        )
    options = None if run["options"] is None else Options(**run["options"])
    target = None if run["target"] is None else Target.from_json(run["target"])
    setup, execution = Setup(probes, run["method"], options, target), Execution(Compute(**run["compute"]), run["batch_size"])
    subject = find_subject(model, setup, encoder)
    converted = convert(model, np.asarray(probes.images[:VERIFIED_IMAGES]), subject.encoder)
    engines = engines_for(model, converted, setup, execution, subject=subject)
    return engines.without_recording(), subject  # recordings of the models that are kept would hold memory of the GPU


def _compute_maps(engines: Engines, first: int, end: int) -> tuple[NDArray[np.float16], tuple[float, ...]]:
    rows: list[NDArray[np.float16]] = []
    errors: list[float] = []
    for found in engines.maps(first, end):
        rows.append(to_unit_maps(found.maps)[0])
        errors += [] if found.errors is None else found.errors.tolist()
    return np.concatenate(rows), tuple(errors)
