"""Exports of one small network: batch normalisation kept or merged, channels first or last, other ranges and other training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onnxspace.inputs.pixel_presets import PRESETS
from onnxspace.inputs.scenes import render
from tests.helpers.nets import Net, save

SIDE, CHANNELS = 32, 8
Norm = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Trained:
    """Weights of two convolutions and a classifier, and scale, bias, mean and variance of the normalisation behind each."""

    first: NDArray[Any]
    second: NDArray[Any]
    norms: tuple[Norm, Norm]
    head: NDArray[Any]


def train(preset: str = "imagenet", seed: int = 0) -> Trained:
    """A network whose first normalisation has the statistics of images under `preset`; its weights are random."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((CHANNELS, 3, 3, 3)) / 5
    second = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / 8
    measured = measure(first, preset)
    scales = rng.uniform(0.5, 2, (2, CHANNELS)) * rng.choice([-1, 1], (2, CHANNELS))
    biases, means = rng.standard_normal((2, 2, CHANNELS)) / 3
    norms = ((scales[0], biases[0], *measured), (scales[1], biases[1], means[1], rng.uniform(0.5, 2, CHANNELS)))
    return Trained(first, second, norms, rng.standard_normal((3, CHANNELS)))


def measure(weights: NDArray[Any], preset: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means and variances of a convolution's channels for generated images under a preset of RGB."""
    images, given = np.stack([render(11, index, 2 * SIDE)[::2, ::2] for index in range(12)]), PRESETS[preset]
    fed = ((images * given.scale - np.asarray(given.mean)) / np.asarray(given.std)).transpose(0, 3, 1, 2)
    net = Net(("N", 3, SIDE, SIDE))
    proto = net.model([net.add("Conv", "image", net.weight(weights))])
    values = ort.InferenceSession(proto.SerializeToString()).run(None, {"image": fed.astype(np.float32)})[0]
    return values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))


def merge(weights: NDArray[Any], norm: Norm) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights and biases of a convolution into which its normalisation is merged."""
    scale, bias, mean, variance = norm
    factor = scale / np.sqrt(variance + 1e-5)
    return weights * factor[:, None, None, None], bias - mean * factor


def export(
    path: Path,
    given: Trained,
    *,
    merged: bool = False,
    last: bool = False,
    gain: float = 1.0,
    bands: tuple[int, ...] = (0, 1, 2),
) -> Path:
    """Write a network to `path`.

    `last` has it take channels last; `gain` is a factor of its input that goes into the first weights; `bands` reorders these.
    """
    net = Net(("N", SIDE, SIDE, 3) if last else ("N", 3, SIDE, SIDE))
    x = net.add("Transpose", "image", perm=[0, 3, 1, 2]) if last else "image"
    for weights, norm in ((given.first[:, bands] * gain, given.norms[0]), (given.second, given.norms[1])):
        x = net.add("Relu", _layer(net, x, weights, norm, merged=merged, transposed=last))
    pooled = net.add("Flatten", net.add("GlobalAveragePool", x))
    return save(net.model([net.add("Gemm", pooled, net.weight(given.head), transB=1)]), path)


def _layer(net: Net, x: str, weights: NDArray[Any], norm: Norm, *, merged: bool, transposed: bool) -> str:
    values, bias = merge(weights, norm) if merged else (weights, None)
    name = net.weight(values)
    if transposed:  # as TensorFlow stores them: height, width, input and output channels
        name = net.add("Transpose", net.weight(values.transpose(2, 3, 1, 0)), perm=[3, 2, 0, 1])
    inputs = [name] if bias is None else [name, net.weight(bias)]
    y = net.add("Conv", x, *inputs)
    return y if merged else net.add("BatchNormalization", y, *(net.weight(part) for part in norm))
