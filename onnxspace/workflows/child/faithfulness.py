"""Measuring the faithfulness of one model's maps: arrays of numbers in files, and what was measured in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.faithfulness.measure import FaithfulnessMeasurement, Measured
from onnxspace.attribution.faithfulness.networks import choose_network, make_forward
from onnxspace.attribution.maps import VERIFIED_IMAGES, engines_for
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.inputs.protocol import Setup
from onnxspace.storage.atomic import write_array
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.workflows.child.open import PreparedModel


def measure_model(
    prepared: PreparedModel,
    setups: Sequence[Setup],
    settings: FaithfulnessSettings,
    execution: Execution,
    folder: Path,
    advance: Advance,
) -> dict[str, Any]:
    """Write a file for each kind of number to `folder`; returns their names, what was measured in words, and warnings.

    `setups` has one setup per method, with the same images. Raises ModelError, ConfigError.
    """
    model, few = prepared.model, setups[0].probes.images[:VERIFIED_IMAGES]
    converted = convert(model, few, prepared.encoder)
    network = choose_network(model, converted, settings.followed, few)
    size = engines_for(model, converted, setups[0], execution).size if network.graph.batchable else 1
    forward = make_forward(model, network.graph, execution, size)
    run = FaithfulnessMeasurement(
        model, converted, forward, network.quantity, setups, settings, execution, folder, advance, list(network.warnings)
    )
    found = run.measure()
    return {
        "files": {name: _write(folder, name, values) for name, values in _list_arrays(found).items()},
        "explained": network.quantity.explained, "followed": network.quantity.followed, "layers": list(found.layers),
        "warnings": list(found.warnings), "remarks": list(prepared.remarks),
    }  # fmt: skip


def _list_arrays(found: Measured) -> Mapping[str, NDArray[Any]]:
    """The arrays by name, without those that were not measured."""
    arrays = {
        **found.curves,
        "infidelity": found.infidelity,
        "sensitivity": found.sensitivity,
        "cascade": found.cascade,
        "peaks": found.peaks,
    }
    return {name: np.asarray(values) for name, values in arrays.items() if values.size}


def _write(folder: Path, name: str, values: NDArray[Any]) -> str:
    write_array(folder / f"{name}.npy", values)
    return f"{name}.npy"
