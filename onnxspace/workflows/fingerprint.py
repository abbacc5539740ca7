"""Fingerprints of models: what is computed of each, and how it is brought to a small size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.names import encoders_for, name_models
from onnxspace.inputs.protocol import MOST_REDUCED, Protocol, Setup
from onnxspace.scores.folds import hash_images, order_by_content
from onnxspace.scores.reduce import reduce_arrays
from onnxspace.scores.registry import Kind
from onnxspace.scores.selection import MEAN_RANK, USUAL, ScoreSelection
from onnxspace.similarity.fingerprints.file import Fingerprint, project_file
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.described import FindOthers
from onnxspace.workflows.files import representations_for
from onnxspace.workflows.requests import DescribedModel, Destination
from onnxspace.workflows.run import Run, Turn
from onnxspace.workflows.session import open_session


def fingerprint(
    path: Path,
    protocol: Protocol,
    setup: Setup,
    encoders: Sequence[str],
    config: Config,
    execution: Execution,
    find_others: FindOthers | None = None,
) -> tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]:
    """Explain the model `path` and return its fingerprint, the assumptions about the model, and warnings.

    `protocol` describes `setup`; `encoders` are values of `--encoder`, `find_others` gives records of what it is compared with. Raises ModelError, ConfigError.
    """
    selection, name = selection_for(protocol), name_models([path], config)[0]
    counter = Counter(len(setup.probes) * len(selection.kinds), execution.progress)
    with open_session(execution) as session, scratch_folder() as folder:
        session.check([setup.method], setup, {}, device=False)
        run = Run(session, config, _NoSink(), representations_for(selection, setup, execution, session), counter)
        turn, opened = (path, name, encoders_for([path], [name], encoders)[0]), session.open_models(config, find_others)
        opened.announce([turn], execution.announce)
        model = opened.take(turn)
        run.warnings += opened.warnings
        files = run.write(model, Destination(folder, "model"))
        prints, reduced = prints_of(files["maps"], protocol), reduce_files(protocol, setup.probes.images, files, run.lost)
    found = Fingerprint(
        name, model.record.sha256, model.record.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, prints,
        protocol.sketch, protocol.fingerprint_options(), protocol.sketch_version, reduced, model.labels, model.record.pixels,
    )  # fmt: skip
    return found, model.record.assumed, tuple(run.warnings)


@dataclass(frozen=True)
class _NoSink:
    """The sink of a run that writes one model's files and enters nothing."""

    def has_read(self, path: Path) -> bool:
        return False

    def enter_file(self, path: Path, name: str) -> None:
        raise NotImplementedError

    def is_missing(self, model: DescribedModel) -> bool:
        return True

    def enter(self, turn: Turn, model: DescribedModel, run: Run) -> None:
        raise NotImplementedError

    def fail(self, path: Path, error: Exception, sentence: str) -> None:
        raise error


def selection_for(protocol: Protocol) -> ScoreSelection:
    """The scores whose arrays a fingerprint or a space of this protocol keeps, in little."""
    usual = protocol.detail != "maps" and protocol.images <= MOST_REDUCED
    return ScoreSelection(USUAL, ranks=MEAN_RANK, usual=True) if usual else ScoreSelection()


def prints_of(maps: Path, protocol: Protocol) -> NDArray[np.float16]:
    """Compute the fingerprint of a file of unit maps, float16 [images, numbers]."""
    return project_file(maps, protocol.numbers, protocol.sketch)


def reduce_files(
    protocol: Protocol, images: NDArray[np.uint8] | None, files: Mapping[Kind, Path], lost: Mapping[Kind, str]
) -> Reduced | None:
    """Reduce a model's features and outputs to what a fingerprint keeps; None where it keeps maps only.

    `images` are the probe images, uint8 [images, size, size, 3], and `lost` has the reason for each file that is missing.
    """
    if images is None or protocol.detail == "maps" or protocol.images > MOST_REDUCED:
        return None
    order = order_by_content(hash_images(images))
    features, outputs = (map_array(files[kind]) if kind in files else None for kind in ("features", "outputs"))
    reasons = {str(kind): reason[:400] for kind, reason in lost.items() if kind in ("features", "outputs")}
    return reduce_arrays(protocol.detail, order, features, outputs, reasons)
