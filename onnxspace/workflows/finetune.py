"""Fine-tuning on labelled images: one model, and the ranking of many by trying it in small."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError
from onnxspace.finetuning.race import FOLDS
from onnxspace.finetuning.targets import Targets, standardise
from onnxspace.inputs.config import Config
from onnxspace.inputs.decoded import DecodedPhotos
from onnxspace.inputs.execution import Announce, Progress
from onnxspace.inputs.names import EncoderNames, list_encoders, list_paths
from onnxspace.inputs.photos import Photos
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits
from onnxspace.scores.finetuned import FineTuneRanking
from onnxspace.scores.folds import assign_balanced_folds, assign_folds, order_by_content
from onnxspace.scores.labels import read_labels
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.finetuning_run import rank_by_finetuning
from onnxspace.workflows.finetuning_task import FROZEN_RUNGS, RUNGS, Task, Training

Device = Literal["auto", "cpu", "cuda"]


def rank_finetuned(
    models: Sequence[str | Path],
    data: Photos | str | Path,
    *,
    budget: float | None = None,
    frozen: bool = False,
    encoder: EncoderNames = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    seed: int = 0,
    workers: int = 0,
    device: Device = "auto",
    folder: str | Path | None = None,
    save: str | Path | None = None,
    known: str | Path | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
    threads: int = 0,
) -> FineTuneRanking:
    """Rank `models` by fine-tuning each of them in small on labelled images, and judging it on held-out ones.

    Each network is converted to a graph that trains as the original did: all weights trainable, batch normalisation live, and put
    back where an exporter merged it. All models are trained for a few epochs, the better ones for longer (successive halving).
    `data` is a folder with a folder per class, a CSV of paths and labels, or `Photos`.

    `budget` is the time in seconds; what is left after the halving goes to further epochs, folds and seeds, the best models
    first (None: the halving alone, about a third of the cost of fine-tuning every model in full). With `frozen`, only
    readouts are fitted, by cross-validation: another question, with other winners. `encoder`, `config`, `pixels` and `announce` are as in `rate`.
    `seed` decides the order of images and the new heads: without a budget, the same seed gives the same ranking. `workers` is the
    number of processes (0: one per core), `device` `cpu`, `cuda`, or `auto` (a GPU where there is one). With `folder`, finished work
    is kept there and the same call resumes. `save` is the path at which the winner is written as ONNX, fine-tuned on all images.
    `known` is a table of results on other datasets, whose mean rank helps to order the models; a file that ends in `.known` is
    created where it is missing, and this ranking is entered in it. `progress` is the callback, `limits` are those of each
    process, `threads` the number of threads of all processes together (0: one for each process).

    A model that fails is listed in `failed`. Raises ConfigError, ProbeError for data that can't be read, TableError for `known`, OutputError.

    >>> ranking = ox.rank_finetuned(["a.onnx", "b.onnx"], "flowers", budget=600)  # doctest: +SKIP
    """
    paths = list_paths(models)
    photos = data if isinstance(data, Photos) else Photos.open(data)
    configuration = resolve_config(config, paths, pixels)
    with open_folder(folder) as place:
        training = Training(
            place, budget=budget, frozen=frozen, rungs=FROZEN_RUNGS if frozen else RUNGS, seed=seed, workers=workers, device=device, save=None if save is None else Path(save),
            known=None if known is None else Path(known), progress=progress, limits=limits, announce=announce, threads=threads,
        )  # fmt: skip
        task = make_task(photos, place)
        return rank_by_finetuning(paths, list_encoders(encoder), configuration, task, training)


def open_folder(kept: str | Path | None) -> AbstractContextManager[Path]:
    """The folder `kept`, created where it is missing, or a temporary one. Raises OutputError."""
    if kept is None:
        return scratch_folder()
    try:
        Path(kept).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.errno, f"{kept} can't be created ({error.strerror}). Name another folder.") from error
    return nullcontext(Path(kept))


def make_task(photos: Photos, folder: Path) -> Task:
    """Make the task of learning the labels of photos; images without a label are left out."""
    labels = read_labels(photos.labels, photos.kind)
    labelled = replace(photos, paths=tuple(np.array(photos.paths, object)[labels.kept]), labels=photos.labels[labels.kept])
    values = labels.columns if labels.kind != "regression" else standardise(labels.columns)
    targets = Targets(labels.kind, np.asarray(values, np.float32), tuple(str(name) for name in labels.names))
    decoded = DecodedPhotos(labelled, folder, lambda _images: None)

    def decode(size: int) -> Path:
        decoded.at_size(size)
        return decoded.file_at_size(size)

    folds = assign_task_folds(order_by_content(decoded.hashes), targets)
    return Task(targets, folds, decode, labelled.describe(decoded.sha256), identify(decoded.hashes, targets))


def assign_task_folds(order: NDArray[np.intp], targets: Targets) -> NDArray[np.intp]:
    """Assign images to folds by their content: balanced over classes, where an image has one."""
    if targets.kind in ("classes", "answers"):
        return assign_balanced_folds(order, targets.strata, FOLDS)
    return assign_folds(order, FOLDS)


def identify(hashes: Sequence[bytes], targets: Targets) -> str:
    """24 hex digits that identify images and targets."""
    return hashlib.sha256(b"".join(hashes) + targets.values.tobytes() + targets.kind.encode()).hexdigest()[:24]
