"""Models into fingerprints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.explainer import check_options
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.names import encoders_for, name_models
from onnxspace.inputs.protocol import Protocol, Setup
from onnxspace.similarity.fingerprints.file import Fingerprint, project_file
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.open import PreparedModel, prepare_model
from onnxspace.workflows.representations import Destination, MapsFile, compute_here


def fingerprint(
    path: Path, protocol: Protocol, setup: Setup, encoders: Sequence[str], config: Config, execution: Execution
) -> tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]:
    """The fingerprint of one model, what was assumed of the model, and warnings.

    `setup` is what `protocol` describes. Raises ModelError and its kin.
    """
    check_options([setup.method], setup.options, setup.probes, {})
    name = name_models([path], config)[0]
    with scratch_folder() as folder:
        model = prepare_model(path, name, encoders_for([path], [name], encoders)[0], config)
        maps, warnings = write_maps(model, setup, execution, Destination(folder, "model"))
        prints = prints_of(maps, protocol)
    found = Fingerprint(
        name, model.record.sha256, model.record.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, prints,
        protocol.sketch, protocol.fingerprint_options(), protocol.sketch_version,
    )  # fmt: skip
    return found, model.record.assumed, warnings


def write_maps(model: PreparedModel, setup: Setup, execution: Execution, to: Destination) -> tuple[Path, tuple[str, ...]]:
    """The file of a model's unit maps, and warnings. Raises ModelError and its kin, OutputError."""
    name, counter = model.record.name, Counter(len(setup.probes), execution.progress)
    file = MapsFile(setup, compute_here(setup, execution))
    path, remarks = file.write(model, to, lambda images: counter.advance(images, name))
    return path, (*(f"{name}: {remark}" for remark in remarks), *model.remarks)


def prints_of(maps: Path, protocol: Protocol) -> NDArray[np.float16]:
    """The fingerprint of a file of unit maps, float16 [images, numbers]."""
    return project_file(maps, protocol.numbers, protocol.sketch)
