"""AttnLRP of one transformer block, written from Achtibat et al. 2024: float64, relevance itself, no gradients.

Linear layers share by z_ij / z_j with the bias in z_j (ε → 0); an activation hands on what it gets; a softmax gives
R_i = x_i (R_i − s_i Σ_j R_j) (prop. 3.1); a product of two computed matrices gives half to each (prop. 3.3); a normalisation is the
linear map that it is while its deviation is held (prop. 3.4); a sum shares by its terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """x + attention(norm(x)), then that + mlp(norm(that)); one head; weights [in, out]."""

    scale: tuple[Array, Array]
    shift: tuple[Array, Array]
    query: Array
    key: Array
    value: Array
    out: Array
    up: Array
    up_bias: Array
    down: Array
    eps: float = 1e-5


def share(c: Array, z: Array, r: Array) -> Array:
    """Contributions [tokens, in, out] of the outputs z [tokens, out]: relevance [tokens, in]."""
    return (c / z[:, None, :] * r[:, None, :]).sum(2)


def dense(x: Array, w: Array, z: Array, r: Array) -> Array:
    return share(x[:, :, None] * w, z, r)


def norm(x: Array, scale: Array, shift: Array, eps: float) -> tuple[Array, Array]:
    """The result, and each token's matrix [in, out] while the deviation is held."""
    size = x.shape[1]
    deviation = np.sqrt(x.var(1) + eps)
    matrix = (np.eye(size) - 1 / size)[None] * scale[None, None, :] / deviation[:, None, None]
    return (x[:, None, :] @ matrix)[:, 0] + shift, matrix


def attention(x: Array, b: Block, r: Array) -> Array:
    """Relevance of x [tokens, size] given that of the attention's output, before the residual sum."""
    q, k, v = x @ b.query, x @ b.key, x @ b.value
    scores = q @ k.T / math.sqrt(q.shape[1])
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    mixed = p @ v
    r = dense(mixed, b.out, mixed @ b.out, r)
    pairs = p[:, :, None] * v[None] / (2 * mixed[:, None, :]) * r[:, None, :]
    of_p, of_v = pairs.sum(2), pairs.sum(0)
    of_scores = scores * (of_p - p * of_p.sum(1, keepdims=True))
    products = q[:, None, :] * k[None] / math.sqrt(q.shape[1]) / (2 * scores[:, :, None]) * of_scores[:, :, None]
    return dense(x, b.query, q, products.sum(1)) + dense(x, b.key, k, products.sum(0)) + dense(x, b.value, v, of_v)


def attention_value(x: Array, b: Block) -> Array:
    q, k, v = x @ b.query, x @ b.key, x @ b.value
    weights = np.exp(q @ k.T / math.sqrt(q.shape[1]))
    return weights / weights.sum(1, keepdims=True) @ v @ b.out


def relevance(x: Array, b: Block) -> Array:
    """Relevance [tokens, size] of the block's input for the sum of its outputs."""
    first, first_matrix = norm(x, b.scale[0], b.shift[0], b.eps)
    attended = attention_value(first, b)
    y = x + attended
    second, second_matrix = norm(y, b.scale[1], b.shift[1], b.eps)
    hidden = second @ b.up + b.up_bias
    active = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
    grown = active @ b.down
    r = y + grown
    of_mlp = dense(active, b.down, grown, grown / (y + grown) * r)
    of_second = dense(second, b.up, hidden, of_mlp)
    of_y = y / (y + grown) * r + share(y[:, :, None] * second_matrix, second, of_second)
    of_first = attention(first, b, attended / y * of_y)
    return x / y * of_y + share(x[:, :, None] * first_matrix, first, of_first)
