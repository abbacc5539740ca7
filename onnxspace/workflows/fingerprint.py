"""Models into fingerprints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.explainer import check
from onnxspace.inputs.config import Config
from onnxspace.inputs.methods import Compute, Device, Options
from onnxspace.inputs.names import encoders_for, model_names
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.file import Fingerprint, project_file
from onnxspace.workflows.open import opened
from onnxspace.workflows.run import Progress, Run


def fingerprint(
    path: Path, protocol: Protocol, options: Options | None, probes: Probes, encoders: Sequence[str], config: Config,
    device: Compute | Device, batch_size: int | None, progress: Progress | None,
) -> tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    """The fingerprint of one model explained as `protocol` says, what was assumed of the model, and warnings.

    `options` is what `protocol` says of the method, with a picture's path. Raises ModelError and its kin.
    """
    check([protocol.method], options, probes, {})
    name = model_names([path], config)[0]
    with TemporaryDirectory(prefix="onnxspace-", ignore_cleanup_errors=True) as folder:
        run = Run(
            probes, protocol.method, options, device, batch_size, config, Path(folder), False, len(probes), progress
        )  # fmt: skip
        found = opened(path, name, encoders_for([path], [name], encoders)[0], config)
        prints = prints_of(run.maps_of(found, "model"), protocol)
    made_print = Fingerprint(
        name, found.record.sha256, found.record.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, prints,
        protocol.sketch, protocol.print_options(), protocol.sketch_version,
    )  # fmt: skip
    return made_print, found.record.assumed, tuple(run.warnings)


def prints_of(maps: Path, protocol: Protocol) -> NDArray[np.float16]:
    """The fingerprint of a file of unit maps, float16 [images, numbers]."""
    return project_file(maps, protocol.numbers, protocol.sketch)
