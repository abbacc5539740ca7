"""Run an artifact on the probe images, and note what it is and what it gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.child.signals import signal
from onnxspace.checking.child.weights import weights
from onnxspace.checking.observation import FileFacts, Observation, Signal, save
from onnxspace.errors import ModelError
from onnxspace.inputs.config import Config
from onnxspace.inputs.methods import Compute, Device, Method, Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import SKETCH_NUMBERS
from onnxspace.model.describe import describe
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.similarity.fingerprints.file import project_file
from onnxspace.workflows.open import Opened, opened
from onnxspace.workflows.run import Run

Progress = Callable[[str, int, int], None]


def observe(
    path: Path, name: str, encoder: str | None, probes: Probes, method: Method, options: Options | None, config: Config,
    device: Compute | Device, folder: Path, progress: Progress | None = None,
) -> Observation:  # fmt: skip
    """Explain and run one artifact; what is found is written to `folder`, where `observation.load` finds it.

    Raises ModelError and its kin, OutputError.
    """
    run = Run(probes, method, options, device, None, config, folder, False, len(probes), progress)
    found = opened(path, name, encoder, config)
    maps = run.maps_of(found, "maps")
    made = Observation(
        _file_facts(found, path, tuple(run.warnings)), project_file(maps, SKETCH_NUMBERS, 0),
        signal(found.model, found.encoder, probes.images, folder / "rows.npy"), _outputs(found.model, probes.images, folder),
    )  # fmt: skip
    save(made, folder)
    return made


def _outputs(model: Model, images: NDArray[np.uint8], folder: Path) -> dict[str, Signal]:
    """Every floating-point output that depends on the image and can be had; those that can't are left out."""
    reached = model.graph.depends_on(model.image.name)
    made: dict[str, Signal] = {}
    for name in model.graph.outputs:
        if model.graph.producer.get(name) not in reached:
            continue
        try:
            made[name] = signal(model, Encoder((name,), "output"), images, folder / "rows.npy")
        except ModelError:  # boxes whose number depends on the image, sequences: the encoder is compared all the same
            continue
    return made


def _file_facts(found: Opened, path: Path, warnings: tuple[str, ...]) -> FileFacts:
    told = describe(found.model)
    return FileFacts(
        found.record.name, str(path), found.record.sha256, path.stat().st_size, told.producer, found.model.opset,
        found.record.encoder, told.inputs, told.outputs, told.operators, told.parameters, weights_of(found.model.network),
        found.record.assumed, warnings,
    )  # fmt: skip


def weights_of(network: Network) -> tuple[tuple[str, str], ...]:
    """The stored numbers, more than one, that nodes read, in the nodes' order: a tensor's name, and 12 digits of its hash."""
    return tuple(
        (name, hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:12])
        for name, values in weights(network).items()
        if values.size > 1 and values.dtype.kind in "fiu"
    )
