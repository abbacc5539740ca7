"""Fine-tuning one model on labelled photos, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnxspace.finetuning.export import describe_preprocessing, export_trainee, save_model
from onnxspace.finetuning.jobs import fit
from onnxspace.finetuning.pictures import Pictures
from onnxspace.finetuning.preparation import build_training_graph
from onnxspace.finetuning.schedule import Schedule
from onnxspace.finetuning.trainee import Trainee
from onnxspace.inputs.photos import Photos
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import Model, open_model
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.regular_files import load_array
from onnxspace.storage.short_text import count, join_lines, list_names
from onnxspace.workflows.finetune import make_task


@dataclass(frozen=True, eq=False)
class FineTunedNetwork:
    """A fine-tuned network.

    `module` is the Torch network in evaluation mode, from its input (as `model.preprocess` makes it of images) to logits, or to
    standardised numbers, float32 [images, outputs]. `names` are those of the outputs, `losses` the mean training loss of each epoch.
    """

    model: Model
    module: nn.Module
    names: tuple[str, ...]
    losses: tuple[float, ...]

    def __repr__(self) -> str:
        last = [f"Mean training loss {self.losses[-1]:.3g} after {count(len(self.losses), 'epoch')}"] if self.losses else []
        return join_lines(
            f"Fine-tuned {self.model.name!r}: {count(len(self.names), 'output')} ({list_names(self.names)})", last
        )

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers to `images`, uint8 [images, size, size, 3]: float32 [images, outputs]."""
        with torch.no_grad():
            answers = self.module(torch.from_numpy(self.model.preprocess(images)))
        return np.asarray(answers.numpy())

    def save(self, file: str | Path) -> None:
        """Write the network as ONNX, with a sidecar that states its preprocessing. Raises ConversionError, OutputError."""
        assert isinstance(self.module, Trainee)
        save_model(export_trainee(self.module, self.names), Path(file), describe_preprocessing(self.module))


def finetune(
    model: Model | str | Path,
    data: Photos | str | Path,
    *,
    schedule: Schedule | None = None,
    frozen: bool = False,
    seed: int = 0,
) -> FineTunedNetwork:
    """Fine-tune one model on all labelled images, and return the trained network.

    `model` is an opened model or the path of an `.onnx` file, `data` a folder with a folder per class, a CSV of paths and labels, or
    `Photos`. `schedule` holds epochs, rates and batch size (None: those that `rank_finetuned` uses); with `frozen` only a readout is
    fitted; `seed` draws the head and the order of images. The graph trains as the original did: batch normalisation is live, and put back where an exporter merged it. Unlike in
    `rank_finetuned`, the file is opened in this process. Raises ModelError and its subclasses, ProbeError.

    >>> network = ox.finetune("a.onnx", "flowers")  # doctest: +SKIP
    >>> network.save("a-flowers.onnx")  # doctest: +SKIP
    """
    opened = model if isinstance(model, Model) else open_model(model)
    photos = data if isinstance(data, Photos) else Photos.open(data)
    given = opened.preprocess
    with scratch_folder() as folder:
        task = make_task(photos, folder)
        images = load_array(task.decode(max(given.height, given.width)))
    pictures = Pictures(torch.from_numpy(given.pixels(images)), given)
    graph = build_training_graph(opened, find_encoder(opened), pictures)
    trainee = Trainee(graph, task.targets.outputs, pictures, seed)
    losses = fit(trainee, task.targets, schedule or Schedule(), seed, frozen=frozen)
    return FineTunedNetwork(opened, trainee.eval(), task.targets.names, tuple(losses))
