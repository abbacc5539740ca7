"""Measuring the faithfulness of one model's maps: arrays of numbers in files, and what was measured in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.faithfulness.fixed_weights import FixedWeights
from onnxspace.attribution.faithfulness.map_source import MapSource, MeasuredMethod
from onnxspace.attribution.faithfulness.measure import FaithfulnessMeasurement, Measured
from onnxspace.attribution.faithfulness.networks import (
    Convert,
    MeasuredNetwork,
    aim_network,
    choose_network,
    make_forward,
)
from onnxspace.attribution.maps import VERIFIED_IMAGES, engines_for
from onnxspace.attribution.subject import find_subject
from onnxspace.inputs.areas import Mask
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.storage.atomic import write_array
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert
from onnxspace.workflows.child.open import PreparedModel


def measure_model(
    prepared: PreparedModel,
    setups: Sequence[Setup],
    settings: FaithfulnessSettings,
    execution: Execution,
    folder: Path,
    advance: Advance,
    objects: Sequence[Mask] | None = None,
) -> dict[str, Any]:
    """Write a file for each kind of number to `folder`; returns their names, what was measured in words, remarks and warnings.

    `setups` has one setup per method, with the same images and the same explained number; `objects` are the pixels of objects in each
    image. Raises ModelError, ConfigError.
    """
    model, graphs = prepared.model, _Graphs(prepared.model, setups[0])
    methods = [_prepare_method(prepared, setup, graphs) for setup in setups]
    network = _choose_network(prepared, methods, settings, graphs, execution)
    size = engines_for(model, methods[0].converted, setups[0], execution, None, methods[0].subject).size
    forward = make_forward(model, network.graph, execution, size if network.graph.batchable else 1)
    reference = network.graph if methods[0].subject.aim is not None else graphs(prepared.encoder)
    fixed = FixedWeights(model, forward, network.quantity, setups[0].probes)
    source = MapSource(model, methods, execution, advance, fixed)
    run = FaithfulnessMeasurement(
        source, forward, reference.graph, network.quantity, settings, folder, objects, list(network.warnings)
    )
    found = run.measure()
    subjects = dict.fromkeys(remark for one in methods for remark in one.subject.remarks)
    return {
        "files": {name: _write(folder, name, values) for name, values in _list_arrays(found).items()},
        "explained": network.quantity.explained, "followed": network.quantity.followed,
        "layers": [] if found.randomised is None else list(found.randomised.layers),
        "warnings": list(found.warnings), "remarks": list(prepared.remarks), "notes": list(subjects),
    }  # fmt: skip


class _Graphs:
    """Graphs of a model at its encoders, each converted once."""

    def __init__(self, model: Model, setup: Setup) -> None:
        self._model, self._images = model, setup.probes.images[:VERIFIED_IMAGES]
        self._found: dict[Encoder, EncoderGraph] = {}

    def __call__(self, encoder: Encoder) -> EncoderGraph:
        if encoder not in self._found:
            self._found[encoder] = convert(self._model, self._images, encoder)
        return self._found[encoder]


def _prepare_method(prepared: PreparedModel, setup: Setup, convert_at: Convert) -> MeasuredMethod:
    subject = find_subject(prepared.model, setup, prepared.encoder)
    return MeasuredMethod(setup, subject, convert_at(subject.encoder))


def _choose_network(
    prepared: PreparedModel,
    methods: Sequence[MeasuredMethod],
    settings: FaithfulnessSettings,
    convert_at: Convert,
    execution: Execution,
) -> MeasuredNetwork:
    """What is run for the methods: a target where one is explained, else the encoder."""
    aim = methods[0].subject.aim
    if aim is not None:
        return aim_network(prepared.model, aim, settings.followed, convert_at, methods[0].setup.probes, execution)
    return choose_network(prepared.model, prepared.encoder, settings.followed, convert_at)


def _list_arrays(found: Measured) -> Mapping[str, NDArray[Any]]:
    """The arrays by name, without those that were not measured."""
    arrays: dict[str, NDArray[Any] | None] = {**found.curves, "infidelity": found.infidelity, "sensitivity": found.sensitivity}
    if found.objects is not None:
        arrays |= {"peaks": found.objects.peaks, "mass": found.objects.mass, "ranks": found.objects.ranks}
    if found.randomised is not None and found.randomised.layers:
        arrays |= {**found.randomised.similarities, "entropies": found.randomised.entropies}
    return {name: np.asarray(values) for name, values in arrays.items() if values is not None}


def _write(folder: Path, name: str, values: NDArray[Any]) -> str:
    write_array(folder / f"{name}.npy", values)
    return f"{name}.npy"
