"""Maps and features of every layer of a network, from one forward pass and one backward pass per layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.devices import autocast_for
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.gradients import InputMaps
from onnxspace.inputs.methods import METHODS
from onnxspace.model.features import pool_to_fit, restore_image_axis
from onnxspace.torchgraph.verify import outputs_of


@dataclass(frozen=True)
class LayerBatch:
    """Results of one layer for a batch of images.

    `maps` is float32 [images, size, size], `features` float32 [images, dimensions], `shape` that of the layer for one image.
    """

    maps: NDArray[np.float32]
    features: NDArray[np.float32]
    shape: tuple[int, ...]


def explain_layers(engine: Explainer, images: NDArray[np.uint8]) -> Iterator[LayerBatch]:
    """Yield maps and features of every output of the graph, in order, for `images`, uint8 [images, size, size, 3].

    This takes one forward pass, and one backward pass to the image per output.
    """
    batch = engine.prepare_batch(images)
    with autocast_for(engine.compute, engine.device):
        point = batch.values.detach().requires_grad_(True)
        outputs = outputs_of(engine.network.graph, point)
        baseline = 0.0 if batch.baseline is None else batch.baseline
        for place, output in enumerate(outputs):
            gradient = _gradient(engine.network.explained(output, place, len(point)), point, last=place == len(outputs) - 1)
            maps = _make_map(engine, gradient, point.detach() - baseline)[: len(images)]
            values = output.detach().float().cpu().numpy()
            rows = pool_to_fit(restore_image_axis(values, len(point))).reshape(len(point), -1)[: len(images)]
            yield LayerBatch(engine.to_probe_pixels(InputMaps(maps)).maps, rows, tuple(values.shape[1:]))


def _gradient(explained: Tensor, point: Tensor, *, last: bool) -> Tensor:
    """The gradient of what is explained of a layer; zero where the layer does not depend on the image."""
    if not explained.requires_grad:
        return torch.zeros_like(point)
    found = torch.autograd.grad(explained, point, retain_graph=not last, allow_unused=True)[0]
    return torch.zeros_like(point) if found is None else found


def _make_map(engine: Explainer, gradient: Tensor, way: Tensor) -> Tensor:
    network = engine.network
    if METHODS[engine.method].way == "absolute":
        return network.mean_over_channels(gradient.abs())
    return network.mean_over_channels(gradient if network.relevance else gradient * way)
