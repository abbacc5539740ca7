"""Observe an artifact: its facts, and its maps and signals on the probe images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.child.signals import observe_signal
from onnxspace.checking.child.weights import read_weights
from onnxspace.checking.observation import FileFacts, Observation, Signal, save_observation
from onnxspace.errors import ModelError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import SKETCH_NUMBERS, Setup
from onnxspace.model.describe import describe
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.similarity.fingerprints.file import project_file
from onnxspace.workflows.child.open import PreparedModel, prepare_model
from onnxspace.workflows.child.representations import write_maps
from onnxspace.workflows.requests import Destination


def observe(
    path: Path, name: str, encoder: str | None, setup: Setup, config: Config, execution: Execution, folder: Path
) -> Observation:
    """Explain and run the model `path`, and write the observation to `folder` for `observation.load_observation`.

    `encoder` is where to cut it, `setup` has the probe images, method and options. Raises ModelError and its subclasses,
    OutputError.
    """
    images = setup.probes.images
    found = prepare_model(path, name, encoder, config)
    maps, warnings = write_maps(found, setup, execution, Destination(folder, "maps"))
    observation = Observation(
        _file_facts(found, path, warnings), project_file(maps, SKETCH_NUMBERS, 0),
        observe_signal(found.model, found.encoder, images, folder / "rows.npy"), _observe_outputs(found.model, images, folder),
    )  # fmt: skip
    save_observation(observation, folder)
    return observation


def _observe_outputs(model: Model, images: NDArray[np.uint8], folder: Path) -> dict[str, Signal]:
    """The signal of every floating-point output that depends on the image; outputs that can't be stacked are left out."""
    reached = model.graph.descendants_of(model.image.name)
    signals: dict[str, Signal] = {}
    for name in model.graph.outputs:
        if model.graph.producer.get(name) not in reached:
            continue
        try:
            signals[name] = observe_signal(model, Encoder((name,), "output"), images, folder / "rows.npy")
        except ModelError:  # detection boxes (their number depends on the image) or sequences; the encoder is still compared
            continue
    return signals


def _file_facts(found: PreparedModel, path: Path, warnings: tuple[str, ...]) -> FileFacts:
    description = describe(found.model)
    return FileFacts(
        found.record.name, str(path), found.record.sha256, path.stat().st_size, description.producer, found.model.opset,
        found.record.encoder, description.inputs, description.outputs, description.operators, description.parameters,
        weight_digests(found.model.network),
        found.record.assumed, warnings,
    )  # fmt: skip


def weight_digests(network: Network) -> tuple[tuple[str, str], ...]:
    """Names and checksums (12 hex digits of SHA-256) of stored tensors of several numbers, in the order nodes read them."""
    return tuple(
        (name, hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:12])
        for name, values in read_weights(network).items()
        if values.size > 1 and values.dtype.kind in "fiu"
    )
