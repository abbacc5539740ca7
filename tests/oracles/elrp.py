"""ε-LRP as a modified gradient, written from Ancona et al. (ICLR 2018), Table 1: float64, one unit at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = tuple[Any, ...]
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "Relu": lambda z: max(z, 0.0),
    "Elu": lambda z: z if z > 0 else math.exp(z) - 1,
    "Sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "Tanh": math.tanh,
    "Softplus": lambda z: math.log1p(math.exp(z)),
    "LeakyRelu": lambda z: z if z > 0 else 0.01 * z,
    "Softsign": lambda z: z / (1 + abs(z)),
}


def elrp(layers: Sequence[Layer], image: Array, epsilon: float = 1e-4) -> Array:
    """Relevance [channels, height, width] of every input value for the sum of all outputs."""
    inputs, value = [], image
    for layer in layers:
        inputs.append(value)
        value = forward(layer, value)
    gradient = np.ones_like(value)
    for layer, given in zip(reversed(layers), reversed(inputs), strict=True):
        gradient = backward(layer, given, gradient, epsilon)
    return image * gradient


def forward(layer: Layer, x: Array) -> Array:
    if layer[0] == "Conv":
        return convolve(x, layer[1], layer[2])
    return np.vectorize(FUNCTIONS[layer[0]])(x)


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    outputs, _, size, _ = weight.shape
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    out = np.zeros((outputs, height, width))
    for o, i, j in np.ndindex(out.shape):
        out[o, i, j] = (weight[o] * x[:, i : i + size, j : j + size]).sum() + bias[o]
    return out


def backward(layer: Layer, x: Array, gradient: Array, epsilon: float) -> Array:
    if layer[0] == "Conv":
        back, size = np.zeros_like(x), layer[1].shape[2]
        for o, i, j in np.ndindex(gradient.shape):
            back[:, i : i + size, j : j + size] += gradient[o, i, j] * layer[1][o]
        return back
    signs = np.where(x >= 0, 1.0, -1.0)
    return gradient * forward(layer, x) / (x + epsilon * signs)
