"""Observe an artifact: its facts, and its maps and signals on the probe images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.child.front import front_facts
from onnxspace.checking.child.input_range import zero_colour
from onnxspace.checking.child.outputs import observe_outputs
from onnxspace.checking.child.signals import observe_signal
from onnxspace.checking.child.weights import find_biases, read_weights
from onnxspace.checking.file_facts import FileFacts
from onnxspace.checking.observation import Observation, save_observation
from onnxspace.checking.values import Signal
from onnxspace.errors import ModelError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import SKETCH_NUMBERS, Setup
from onnxspace.model.describe import describe
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.similarity.fingerprints.file import project_file
from onnxspace.workflows.child.open import PreparedModel, prepare_located
from onnxspace.workflows.child.representations import write_maps
from onnxspace.workflows.requests import Destination, LocatedModel


def observe(model: LocatedModel, setup: Setup, execution: Execution, folder: Path, *, whole: bool = True) -> Observation:
    """Run and explain a model, and write the observation to `folder` for `observation.load_observation`.

    `setup` has the probe images, method and options; with `whole`, ONNX Runtime must be able to run all of the model. A model whose outputs are not finite and that can't be explained gives an
    observation that is `broken`. Raises ModelError and its subclasses, OutputError.
    """
    found = prepare_located(model)
    outputs, unmeasured = _observe_outputs(found.model, setup.probes.images, whole=whole)
    try:
        observation = _explain(found, model, setup, execution, folder)
    except ModelError as error:
        if all(signal.finite.all() for signal in outputs.values()):
            raise
        nothing = np.zeros((len(setup.probes), SKETCH_NUMBERS), np.float16)
        observation = Observation(_file_facts(found, model, ()), nothing, None, {}, broken=str(error))
    observation = replace(observation, outputs=outputs, unmeasured=unmeasured)
    save_observation(observation, folder)
    return observation


def _explain(found: PreparedModel, model: LocatedModel, setup: Setup, execution: Execution, folder: Path) -> Observation:
    """The observation without outputs."""
    maps, warnings = write_maps(found, setup, execution, Destination(folder, "maps"))
    encoder = observe_signal(found.model, found.encoder, setup.probes.images, folder / "rows.npy")
    return Observation(_file_facts(found, model, warnings), project_file(maps, SKETCH_NUMBERS, 0), encoder, {})


def _observe_outputs(model: Model, images: NDArray[np.uint8], *, whole: bool) -> tuple[Mapping[str, Signal], Mapping[str, str]]:
    """The signals of all outputs, and why others have none. Raises ModelError with `whole` where the file can't be run."""
    try:
        return observe_outputs(model, images)
    except ModelError as error:
        if whole:
            raise
        return {}, dict.fromkeys(model.graph.outputs, str(error))


def _file_facts(found: PreparedModel, model: LocatedModel, warnings: tuple[str, ...]) -> FileFacts:
    description = describe(found.model)
    fed, front = front_facts(found.model)
    return FileFacts(
        found.record.name, model.path, found.record.sha256, Path(model.file).stat().st_size, description.producer, found.model.opset,
        found.record.encoder, description.inputs, description.outputs, description.operators, description.parameters,
        weight_digests(found.model.network, scalars=False),
        found.record.assumed, (*found.model.warnings, *warnings), zero_colour(found.model.preprocess), fed, tuple(find_biases(found.model.network)), front,
        weight_digests(found.model.network, scalars=True), found.record.pixels, found.weights,
    )  # fmt: skip


def weight_digests(network: Network, *, scalars: bool) -> tuple[tuple[str, str], ...]:
    """Names and checksums (12 hex digits of SHA-256) of stored tensors of several numbers, or of `scalars`, as nodes read them."""
    return tuple(
        (name, hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:12])
        for name, values in read_weights(network).items()
        if values.size and (values.size == 1) == scalars and values.dtype.kind in ("f" if scalars else "fiu")
    )
