"""Maps of a converted network against the slopes that its own framework computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.inputs.probes import Probes
from onnxspace.model.model import open_model
from tests.helpers.nets import worst_cosine

#: d(sum of a tensor)/d(image) by a framework, float64 [images, …] in the image's own layout.
Slopes = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def nearest(path: Path, encoder: str | None, slopes: Slopes, size: int = 16, images: int = 3) -> float:
    """The smallest cosine, over images, of our saliency and gradient × input with a framework's."""
    shown, model = Probes.generate(images, size), open_model(path, encoder)
    x = model.preprocess(shown.images)
    found, channels = slopes(x), 1 if model.preprocess.layout == "NCHW" else -1
    wanted = {"saliency": np.abs(found), "gradient-x-input": found * x}
    return min(worst_cosine(ox.attribute(model, shown, method), values.mean(channels)) for method, values in wanted.items())  # type: ignore[arg-type]


def along(path: Path, encoder: str | None, slopes: Slopes, least: float = 0.9999) -> None:
    """Both maps of a tensor of the file lie along the framework's own slopes."""
    assert nearest(path, encoder, slopes) >= least


def last(path: Path) -> str:
    """The first output of a file: what its slopes lead through is the whole network."""
    name: str = onnx.load(path, load_external_data=False).graph.output[0].name
    return name


def of_torch(network: Any, values: NDArray[np.float32], layer: str | None = None) -> NDArray[np.float64]:
    """Slopes of the network's output, or of a layer's, by `torch.autograd`."""
    import torch

    image = torch.from_numpy(values).requires_grad_(True)
    seen: list[torch.Tensor] = []
    part = network if layer is None else network.get_submodule(layer)
    hook = part.register_forward_hook(lambda _module, _inputs, output: seen.append(getattr(output, "logits", output)))
    network(image)
    hook.remove()
    (found,) = torch.autograd.grad(seen[-1].sum(), image)
    made: NDArray[np.float64] = found.double().numpy()
    return made
