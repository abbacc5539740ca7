"""ModelGiF's gradient fields of a model on probe images, written to a file of unit fields.

Song et al., "ModelGiF: Gradient Fields for Model Functional Distance" (ICCV 2023): with f(x) = Σ_c z_c(x; p_c) over the encoder's
channels, p_c being the position of channel c's maximum on the image, and the Gauss–Legendre nodes α_j and weights w_j on [0, 1],
G_k = (x − b) ⊙ Σ_{j≤k} w_j ∇f(b + α_j (x − b)), the mean over the image's channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.batches import halve_batch
from onnxspace.attribution.devices import autocast_for, configure_torch
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.methods import BASELINES, FIELDS_METHOD, FIELDS_SIZE
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter, to_unit_maps
from onnxspace.storage.resume import JOURNAL
from onnxspace.storage.short_text import count
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.torchgraph.verify import outputs_of

SIZE, METHOD = FIELDS_SIZE, FIELDS_METHOD


def fields_key(key: str, setup: Setup) -> str:
    """Return 32 hex digits for everything that determines fields besides images and machine; `key` identifies the model."""
    settings = setup.settings
    picture = str(settings.baseline)
    if picture not in BASELINES:
        picture = hashlib.sha256(read_square(Path(picture), setup.probes.size).tobytes()).hexdigest()
    return hashlib.sha256(repr((key, settings.steps, picture, SIZE)).encode()).hexdigest()[:32]


def write_fields(
    model: Model, encoder: Encoder, setup: Setup, file: Path, execution: Execution, *, kept: bool = False,
    advance: Advance | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Write the unit fields of every probe image to `file`, float16 [images, steps · 128 · 128], and return warnings.

    `setup` is one of `METHOD`, with its steps (50) and baseline (zero). One image's fields are held at a time. With `kept`,
    a journal beside the file lets a later call resume where this one is stopped. `advance` is called with numbers of images.

    Raises ModelError, AttributionError where a field is not finite or all are zero, OutputError.
    """
    steps, images = setup.settings.steps, len(setup.probes)
    journal = Journal(file.with_suffix(JOURNAL), images) if kept else None
    with MapWriter(file, images, steps * SIZE * SIZE, journal) as writer:
        if advance is not None:
            advance(writer.rows)
        if writer.remarks is not None:
            return writer.remarks
        engines = engines_for(model, convert(model, setup.probes.images[:VERIFIED_IMAGES], encoder), setup, execution)
        for fields in _compute_fields(engines, writer.rows):
            if not np.isfinite(fields).all():
                raise AttributionError(f"{model.path}: the gradient field of probe image {writer.rows} is not finite.")
            writer.append(to_unit_maps(fields)[0].reshape(1, -1))
            if advance is not None:
                advance(1)
        if writer.zeros == images:
            raise AttributionError(f"{model.path}: every gradient field is zero. Name another --encoder or --baseline.")
        zeros = (f"the gradient fields are zero for {count(writer.zeros, 'image')}.",) if writer.zeros else ()
        remarks = (*zeros, *engines.uncompiled)
        writer.finish(remarks)
    return remarks


def _compute_fields(engines: Engines, first: int) -> Iterator[NDArray[np.float32]]:
    """Yield the fields of each image from `first` on, float32 [steps, 128, 128], computed on the first device."""
    setup, room = engines.setup, max(1, engines.size // engines.model.images_at_once)
    path = PathGradients(engines.explainers[0], setup.settings.steps, room)
    with configure_torch(engines.compute):
        for index in range(first, len(setup.probes)):
            yield path.fields(setup.probes.images[index : index + 1])


class PathGradients:
    """Gradients on the line from the baseline to an image, at the `steps` Gauss–Legendre nodes.

    `room` points are computed at once, fewer where memory is short.
    """

    def __init__(self, engine: Explainer, steps: int, room: int) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self.engine, self.room = engine, room
        self.nodes = ((nodes + 1) / 2).tolist()
        self.weights = torch.as_tensor(weights / 2, dtype=torch.float32, device=engine.device).reshape(-1, 1, 1, 1)
        shape = engine.preprocess.inverse(SIZE)
        self.rows, self.columns = (torch.from_numpy(matrix).to(engine.device, torch.float32) for matrix in shape)

    def fields(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the fields, float32 [steps, 128, 128], of one image, uint8 [1, size, size, 3].

        A network that takes N images at a time gets the image N times.
        """
        batch = self.engine.prepare_batch(image)
        start = torch.zeros_like(batch.values) if batch.baseline is None else batch.baseline
        way = batch.values - start
        with autocast_for(self.engine.compute, self.engine.device):
            places = [find_peaks(output[:1]) for output in self.engine.network.forward(batch.values)]
        gradients = torch.cat(list(self._gradients(start, way, places)))[:: len(way)].float()
        along = self.engine.network.mean_over_channels(way[:1] * (self.weights * gradients).cumsum(0))
        resized: NDArray[np.float32] = (self.rows @ along @ self.columns.T).cpu().numpy()
        return resized

    def _gradients(self, start: Tensor, way: Tensor, places: list[Tensor]) -> Iterator[Tensor]:
        done = 0
        while done < len(self.nodes):
            points = torch.cat([start + node * way for node in self.nodes[done : done + self.room]])
            try:
                with autocast_for(self.engine.compute, self.engine.device):
                    found = self._gradient(points, places)
            except (RuntimeError, MemoryError) as error:
                self.room = halve_batch(error, self.room, self.engine.network.path)
                continue
            done += len(points) // len(way)
            yield found

    def _gradient(self, points: Tensor, places: list[Tensor]) -> Tensor:
        """∇f at every point, of their shape."""
        return self.engine.network.run(self._differentiate, points, *places)

    def _differentiate(self, points: Tensor, *places: Tensor) -> Tensor:
        points = points.detach().requires_grad_(True)
        outputs = outputs_of(self.engine.network.graph, points)
        chosen = [values_at(output, place) for output, place in zip(outputs, places, strict=True)]
        network = self.engine.network
        sums = [
            network.explained(values, k, len(points)) if _has_one_position(outputs[k]) else values.sum()
            for k, values in enumerate(chosen)
        ]
        explained = torch.stack(sums).sum()
        found = torch.autograd.grad(explained, points, allow_unused=True)[0] if explained.requires_grad else None
        if found is None:
            raise AttributionError(
                f"{self.engine.network.path}: no gradient reaches the image from the encoder. Name another --encoder."
            )
        return found


def find_peaks(output: Tensor) -> Tensor:
    """Return the position of each channel's maximum, [1, channels, 1], in an output [1, channels, …] or [1, tokens, channels]."""
    return _to_channels(output).argmax(dim=2, keepdim=True)


def values_at(output: Tensor, places: Tensor) -> Tensor:
    """Return the values [points, channels] of an output [points, …] at the positions `places`, [1, channels, 1]."""
    values = _to_channels(output)
    return values.gather(2, places.expand(len(values), -1, -1))[:, :, 0]


def _has_one_position(output: Tensor) -> bool:
    """Whether an output has one value per channel, so that all its units are explained."""
    return _to_channels(output).shape[2] == 1


def _to_channels(output: Tensor) -> Tensor:
    """Reshape to [images, channels, positions]: the last of three axes holds the channels, otherwise the second."""
    if output.dim() == 3:
        return output.transpose(1, 2)
    return output.reshape(len(output), output.shape[1] if output.dim() > 1 else 1, -1)
