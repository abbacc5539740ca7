"""Ranking sources without labels: each is fine-tuned on what the network of the target answers to pictures of the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters.cache import onnx_file, stated_options
from onnxspace.finetuning.jobs import ModelFile
from onnxspace.finetuning.targets import Targets, standardise
from onnxspace.finetuning.workers import WorkerPool
from onnxspace.inputs.config import Config
from onnxspace.inputs.content import hash_images
from onnxspace.inputs.execution import Announce, Progress
from onnxspace.inputs.names import EncoderNames, encoders_for, find_target_name, list_encoders, list_paths, name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits, resolve_limits
from onnxspace.scores.answers import find_probabilities
from onnxspace.scores.finetuned import FineTuneRanking
from onnxspace.scores.folds import order_by_content
from onnxspace.scores.grids import project_on_principal_axes
from onnxspace.storage.atomic import write_array
from onnxspace.storage.regular_files import load_array, map_array
from onnxspace.workflows.array_forms import ArrayForm
from onnxspace.workflows.finetune import Device, assign_task_folds, identify, open_folder
from onnxspace.workflows.finetuning_run import rank_by_finetuning
from onnxspace.workflows.finetuning_task import Task, Training
from onnxspace.workflows.requests import wrong_answer

#: Numbers that stand for other outputs than classes: their leading principal components.
_MOST_NUMBERS = 32


def rank_by_answers(
    target: str,
    models: Sequence[str | Path],
    pictures: Probes | str | Path,
    *,
    budget: float | None = None,
    encoder: EncoderNames = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    seed: int = 0,
    workers: int = 0,
    device: Device = "auto",
    folder: str | Path | None = None,
    known: str | Path | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
    threads: int = 0,
) -> FineTuneRanking:
    """Rank `models` as sources for the task of one of them, `target`, by fine-tuning them on its answers to `pictures`.

    `target` is the name or path of a model, `pictures` a folder of pictures of the task, or `Probes`. A classifier's probabilities
    are what is learned, and results are the share of held-out pictures on which a source comes to the same class; of other
    outputs, averaged over positions, the leading principal components, and R². The other arguments are those of
    `rank_finetuned`. Raises ConfigError, ProbeError, TableError, ModelError where the target can't be run, OutputError.

    >>> ranking = ox.rank_by_answers("a.onnx", ["a.onnx", "b.onnx", "c.onnx"], "photos")  # doctest: +SKIP
    """
    paths = list_paths(models)
    configuration = resolve_config(config, paths, pixels)
    names = name_models(paths, configuration)
    name = find_target_name(target, paths, names)
    probes = pictures if isinstance(pictures, Probes) else Probes.from_folder(pictures, _MOST_PICTURES)
    sources = [path for path, each in zip(paths, names, strict=True) if each != name]
    if not sources:
        raise ConfigError(f"{name} is the only model. Name others, which are ranked as its sources.")
    with open_folder(folder) as place:
        training = Training(
            place,
            budget=budget,
            seed=seed,
            workers=workers,
            device=device,
            known=None if known is None else Path(known),
            progress=progress,
            limits=limits,
            announce=announce,
            threads=threads,
        )
        images = place / f"pictures-{probes.sha256[:24]}.npy"
        if not images.exists():
            write_array(images, probes.images)
        wanted = list_encoders(encoder)
        asked = encoders_for(paths, names, wanted)[names.index(name)]
        outputs = _read_outputs(paths[names.index(name)], asked, configuration, images, training)
        task = _make_task(name, probes, images, outputs)
        return rank_by_finetuning(sources, wanted, configuration, task, training)


_MOST_PICTURES = 300


def _read_outputs(path: Path, encoder: str | None, config: Config, images: Path, training: Training) -> NDArray[np.float32]:
    """What a model answers to the pictures, computed in a worker process. Raises ModelError."""
    folder, limits = training.folder, training.limits
    file = onnx_file(path, encoder, config, resolve_limits(limits))
    model = ModelFile.describe(file, encoder if file == path else None, stated_options(path, file, config))
    request = {"task": "answer", "model": asdict(model), "images": str(images), "file": str(folder / "answers.npy")}
    with WorkerPool(1, max(1, training.threads), limits) as pool:
        ((_, answer),) = pool.perform_all([request])
    if "error" in answer:
        raise ModelError(str(answer["error"]))
    try:
        ArrayForm("float32", len(map_array(images))).check(folder / "answers.npy")
        found: NDArray[np.float32] = load_array(folder / "answers.npy", follow=False)
    except (OSError, ValueError) as error:
        raise wrong_answer(str(path)) from error
    return found


def _make_task(name: str, probes: Probes, images: Path, outputs: NDArray[np.float32]) -> Task:
    targets, hashes = to_targets(outputs), hash_images(probes.images)
    folds = assign_task_folds(order_by_content(hashes), targets)
    data = {"name": probes.name, "images": len(probes), "kind": targets.kind, "target": name, "sha256": probes.sha256}
    return Task(targets, folds, lambda _size: images, data, identify(hashes, targets))


def to_targets(outputs: NDArray[Any]) -> Targets:
    """Make targets of a network's `outputs` [images, numbers]: probabilities, or standardised principal components."""
    probabilities = find_probabilities(outputs)
    if probabilities is not None and probabilities.ndim == 2:
        return Targets("answers", np.asarray(probabilities, np.float32), tuple(map(str, range(probabilities.shape[1]))))
    numbers = np.asarray(outputs, np.float64).reshape(len(outputs), -1)
    if numbers.shape[1] > _MOST_NUMBERS:
        numbers = project_on_principal_axes(numbers, _MOST_NUMBERS)
    return Targets("regression", standardise(numbers), tuple(map(str, range(numbers.shape[1]))))
