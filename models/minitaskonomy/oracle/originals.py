"""The trained networks of PyTorch, out of their ONNX files: an encoder whose batch normalisation is live again.

The exporter merged each normalisation into its convolution: a file holds γ/s · W and β − γ μ/s. On the rooms from which a network
learned, a normalised channel had the mean β and the standard deviation |γ|, and these can be measured. What is lost is the length
of each W alone, on which the function doesn't depend, but the size of a step does: a network that was trained anew has the
lengths that are given to all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

import onnxspace as ox
from models.minitaskonomy.training.networks import build_residual
from onnxspace.errors import ModelError
from onnxspace.model.network import embed_weights

Weights = Mapping[str, Tensor]
#: Mean length of a row of weights, as `measure_lengths` finds it in the network for depth, trained anew.
LENGTHS = {
    "0": 0.70, "2.first": 1.01, "2.second": 1.19, "2.shortcut": 0.63, "3.first": 1.22, "3.second": 1.59, "3.shortcut": 0.69,
    "4.first": 1.60, "4.second": 1.58,
}  # fmt: skip
#: Of what convolutions give.
Moments = dict[nn.Module, tuple[Tensor, Tensor]]


def load_original(path: Path, pictures: Tensor) -> nn.Module:
    """The encoder of a residual network in `path`, equal to the file's; `pictures`, float32 [n, 3, 64, 64], are rooms from which it
    learned. Raises ModelError where the file is of another architecture."""
    encoder = build_residual().eval()
    _fill(encoder, _read_weights(path), path)
    with torch.no_grad():
        _split_normalisations(encoder, pictures)
    return encoder


def _read_weights(path: Path) -> Weights:
    network = embed_weights(ox.open_model(path).network)
    return {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in network.graph.initializer}


def list_normalised(encoder: nn.Module) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution with the normalisation behind it, and the name of both."""
    for name, pair in encoder.named_modules():
        if isinstance(pair, nn.Sequential) and len(pair) == 2 and isinstance(pair[1], nn.BatchNorm2d):
            assert isinstance(pair[0], nn.Conv2d)
            yield name, pair[0], pair[1]


def _fill(encoder: nn.Module, weights: Weights, path: Path) -> None:
    """Merged weights, with normalisations that only add the merged bias."""
    for name, conv, norm in list_normalised(encoder):
        key = f"encoder.{name}.0.weight"
        if key not in weights or weights[key].shape != conv.weight.shape:
            raise ModelError(
                f"{path}: has no weights {key} of a residual network. Export it with `python -m models.minitaskonomy export`."
            )
        conv.weight.data.copy_(weights[key])
        norm.bias.data.copy_(weights[f"{key}_bias"])
        assert norm.running_var is not None
        norm.running_var.fill_(1 - norm.eps)


def _split_normalisations(encoder: nn.Module, pictures: Tensor) -> None:
    """Give each normalisation the moments of its channels, and each row of weights its length."""
    moments = _measure_moments(encoder, pictures)
    for name, conv, norm in list_normalised(encoder):
        mean, variance = moments[conv]
        longer = LENGTHS[name] / conv.weight.flatten(1).norm(dim=1).clamp(min=1e-12)
        conv.weight.mul_(longer[:, None, None, None])
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean * longer)
        norm.running_var.copy_(variance * longer.square())
        norm.weight.copy_((norm.running_var + norm.eps).sqrt() / longer)
        norm.bias.add_(mean)


def _measure_moments(encoder: nn.Module, pictures: Tensor) -> Moments:
    """Mean and variance of each channel of each convolution's output."""
    found: Moments = {}

    def keep(module: nn.Module, _inputs: Any, values: Tensor) -> None:
        found[module] = values.mean((0, 2, 3)), values.var((0, 2, 3))

    hooks = [conv.register_forward_hook(keep) for _, conv, _ in list_normalised(encoder)]
    try:
        encoder(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def measure_lengths(encoder: nn.Module) -> dict[str, float]:
    """The mean length of a row of weights of each convolution, by its name."""
    return {name: float(conv.weight.detach().flatten(1).norm(dim=1).mean()) for name, conv, _ in list_normalised(encoder)}


def compare_with_file(encoder: nn.Module, path: Path, images: NDArray[np.uint8]) -> float:
    """The largest difference from what the ONNX file gives for images uint8 [n, 64, 64, 3], as a share of the largest value."""
    from models.minitaskonomy.oracle.transfers import compute_features
    from models.minitaskonomy.training.networks import scale
    from models.minitaskonomy.zoo import Entry

    wanted = compute_features(Entry(path.stem, "", "", path), images)
    with torch.no_grad():
        found = encoder(scale(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))))
    return float((found - wanted).abs().max() / wanted.abs().max())
