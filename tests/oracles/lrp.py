"""Layer-wise relevance propagation written from the papers' equations: float64, explicit matrices, relevance itself, no gradients.

Bach et al. 2015 (ε eq. 58, αβ eq. 60), Montavon et al. 2017 (z⁺, z^B, w²), Montavon et al. 2019 (γ), Andéol et al. 2021 (γ for
data of both signs), Lapuschkin et al. 2019 (flat). A layer is a tuple: ("conv", w, b, pad), ("dense", w, b), ("bn", scale, shift),
("act", name), ("maxpool", size), ("mean",), ("residual", [layers]).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = tuple[Any, ...]
ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "Relu": lambda z: max(z, 0.0),
    "Silu": lambda z: z / (1 + math.exp(-z)),
    "Gelu": lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    "Sigmoid": lambda z: 1 / (1 + math.exp(-z)),
}


@dataclass(frozen=True)
class Rules:
    """Rule names of convolutions, dense layers and the first linear layer, and their numbers."""

    conv: str
    dense: str
    first: str = ""
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0
    low: float = 0.0
    high: float = 0.0


def sign(z: Array) -> Array:
    return np.where(z >= 0, 1.0, -1.0)


def conv_matrix(shape: tuple[int, ...], w: Array, pad: int) -> Array:
    """The matrix [outputs, inputs] of a convolution with stride 1 over an image of `shape`, tap by tap."""
    channels, height, width = shape
    outputs, _, size, _ = w.shape
    rows, columns = height + 2 * pad - size + 1, width + 2 * pad - size + 1
    matrix = np.zeros((outputs, rows, columns, channels, height, width))
    for o, i, j, c, u, v in np.ndindex(outputs, rows, columns, channels, size, size):
        y, x = i + u - pad, j + v - pad
        if 0 <= y < height and 0 <= x < width:
            matrix[o, i, j, c, y, x] = w[o, c, u, v]
    return matrix.reshape(outputs * rows * columns, -1)


def merged(layers: Sequence[Layer]) -> list[Layer]:
    """Batch normalisation behind a linear layer, in its weights."""
    done: list[Layer] = []
    for layer in layers:
        if layer[0] == "bn" and done and done[-1][0] == "conv":
            _, w, b, pad = done.pop()
            done.append(("conv", w * layer[1][:, None, None, None], b * layer[1] + layer[2], pad))
        elif layer[0] == "residual":
            done.append(("residual", merged(layer[1])))
        else:
            done.append(layer)
    return done


def relevance(layers: Sequence[Layer], image: Array, rules: Rules) -> Array:
    """Relevance of every value of an image [channels, height, width] for the sum of all outputs."""
    return backward(merged(layers), image, lambda z: z, rules, True)


def forward(layer: Layer, x: Array) -> Array:
    kind = layer[0]
    if kind == "conv":
        w, pad = layer[1], layer[3]
        shape = (w.shape[0], x.shape[1] + 2 * pad - w.shape[2] + 1, x.shape[2] + 2 * pad - w.shape[3] + 1)
        return (conv_matrix(x.shape, w, pad) @ x.reshape(-1)).reshape(shape) + layer[2][:, None, None]
    if kind == "dense":
        return layer[1] @ x.reshape(-1) + layer[2]
    if kind == "act":
        return np.vectorize(ACTIVATIONS[layer[1]], otypes=[float])(x)
    if kind == "bn":
        return x * layer[1][:, None, None] + layer[2][:, None, None]
    if kind == "maxpool":
        k = layer[1]
        return x.reshape(x.shape[0], x.shape[1] // k, k, x.shape[2] // k, k).max(axis=(2, 4))
    if kind == "mean":
        return x.mean(axis=(1, 2))
    value = x
    for inner in layer[1]:
        value = forward(inner, value)
    return x + value


def backward(layers: Sequence[Layer], x: Array, top: Callable[[Array], Array], rules: Rules, at_input: bool) -> Array:
    """Relevance of `x`, given what makes the relevance of the last layer's output from its value."""
    values = [x]
    for layer in layers:
        values.append(forward(layer, values[-1]))
    relevances = top(values[-1])
    linear = [i for i, layer in enumerate(layers) if layer[0] in ("conv", "dense")]
    for i in reversed(range(len(layers))):
        first = at_input and bool(rules.first) and i == linear[0]
        relevances = step(layers[i], values[i], values[i + 1], relevances, rules, first)
    return relevances


def step(layer: Layer, x: Array, z: Array, r: Array, rules: Rules, first: bool) -> Array:
    kind = layer[0]
    if kind in ("conv", "dense"):
        matrix = conv_matrix(x.shape, layer[1], layer[3]) if kind == "conv" else layer[1]
        bias = np.repeat(layer[2], z.size // layer[2].size)
        rule = rules.first if first else (rules.conv if kind == "conv" else rules.dense)
        return linear(rule, matrix, bias, x.reshape(-1), r.reshape(-1), rules).reshape(x.shape)
    if kind == "act":
        return r * x / (x + rules.epsilon * sign(x))
    if kind == "bn":
        return quotient(x * layer[1][:, None, None] * r, z)
    if kind == "maxpool":
        wins = np.repeat(np.repeat(z, layer[1], 1), layer[1], 2) == x
        return np.repeat(np.repeat(r, layer[1], 1), layer[1], 2) * wins
    if kind == "mean":
        size = x.shape[1] * x.shape[2]
        return x / size * quotient(r, z)[:, None, None]
    inner = z - x
    branch = backward(layer[1], x, lambda _: quotient(inner * r, z), rules, False)
    return quotient(x * r, z) + branch


def quotient(a: Array, b: Array) -> Array:
    """a / b, zero where b is."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def linear(rule: str, w: Array, b: Array, x: Array, r: Array, p: Rules) -> Array:
    """One layer: contributions c[j, i] = x_i w_ji, a share q[j, i] of each, and R_i = Σ_j q_ji R_j."""
    c = w * x
    z = c.sum(1) + b
    if rule == "epsilon":
        return (c / (z + p.epsilon * sign(z))[:, None] * r[:, None]).sum(0)
    up, down = np.maximum(c, 0), np.minimum(c, 0)
    above, below = up.sum(1) + np.maximum(b, 0), down.sum(1) + np.minimum(b, 0)
    if rule in ("zplus", "alpha-beta"):
        alpha, beta = (1.0, 0.0) if rule == "zplus" else (p.alpha, p.beta)
        share = alpha * up / (above + p.epsilon)[:, None] - beta * down / (below - p.epsilon)[:, None]
        return (share * r[:, None]).sum(0)
    if rule == "gamma":
        favoured = np.where((z > 0)[:, None], c + p.gamma * up, c + p.gamma * down)
        whole = np.where(z > 0, z + p.gamma * above, z + p.gamma * below)
        share = np.where((z != 0)[:, None], favoured / (whole + p.epsilon * sign(whole))[:, None], 0)
        return (share * r[:, None]).sum(0)
    if rule == "flat":
        c = (w != 0).astype(float)
    elif rule == "w-square":
        c = w * w
    else:
        c = w * x - np.maximum(w, 0) * p.low - np.minimum(w, 0) * p.high
    return (c / (c.sum(1) + p.epsilon)[:, None] * r[:, None]).sum(0)
