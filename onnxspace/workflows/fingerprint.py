"""Fingerprints of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.names import encoders_for, name_models
from onnxspace.inputs.protocol import Protocol, Setup
from onnxspace.scores.selection import ScoreSelection
from onnxspace.similarity.fingerprints.file import Fingerprint, project_file
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.files import representations_for
from onnxspace.workflows.requests import Destination
from onnxspace.workflows.session import open_session


def fingerprint(
    path: Path, protocol: Protocol, setup: Setup, encoders: Sequence[str], config: Config, execution: Execution
) -> tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]:
    """Explain the model `path` and return its fingerprint, the assumptions about the model, and warnings.

    `protocol` describes `setup`; `encoders` are values of `--encoder`. Raises ModelError, ConfigError.
    """
    name, counter = name_models([path], config)[0], Counter(len(setup.probes), execution.progress)
    with open_session(execution) as session, scratch_folder() as folder:
        session.check([setup.method], setup, {}, device=False)
        model = session.prepare(path, name, encoders_for([path], [name], encoders)[0], config)
        if execution.announce is not None:
            execution.announce([model.record])
        file = representations_for(ScoreSelection(), setup, execution, session)["maps"]
        maps, remarks = file.write(model, Destination(folder, "model"), lambda images: counter.advance(images, name))
        prints = prints_of(maps, protocol)
    found = Fingerprint(
        name, model.record.sha256, model.record.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, prints,
        protocol.sketch, protocol.fingerprint_options(), protocol.sketch_version,
    )  # fmt: skip
    return found, model.record.assumed, (*(f"{name}: {remark}" for remark in remarks), *model.remarks)


def prints_of(maps: Path, protocol: Protocol) -> NDArray[np.float16]:
    """Compute the fingerprint of a file of unit maps, float16 [images, numbers]."""
    return project_file(maps, protocol.numbers, protocol.sketch)
