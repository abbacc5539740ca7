"""Networks of the older Flax (linen) that the tests convert, as a user would write them. Loads JAX."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from flax import linen

SHAPE = (16, 16, 3)


class Residual(linen.Module):  # type: ignore[misc]
    """Two blocks with shortcuts, pools that overlap and reach over the edge."""

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = linen.max_pool(linen.relu(linen.Conv(8, (3, 3), name="stem")(x)), (3, 3), (2, 2), "SAME")
        for _ in range(2):
            inner = linen.BatchNorm(use_running_average=not train)(linen.Conv(8, (3, 3))(x))
            x = linen.relu(x + linen.Conv(8, (3, 3))(linen.relu(inner)))
        x = linen.avg_pool(x, (3, 3), (2, 2), "SAME")
        made: jax.Array = linen.Dense(4)(x.reshape(x.shape[0], -1))
        return made


class Painter(linen.Module):  # type: ignore[misc]
    """An encoder and a decoder with a skip and a resize."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        low = linen.relu(linen.Conv(8, (3, 3), strides=2, name="down")(x))
        deep = linen.relu(linen.Conv(16, (3, 3), strides=2)(low))
        joined = low + linen.ConvTranspose(8, (2, 2), strides=(2, 2))(deep)
        made: jax.Array = linen.Conv(1, (3, 3))(jax.image.resize(joined, (x.shape[0], 16, 16, 8), "bilinear"))
        return made


class Attending(linen.Module):  # type: ignore[misc]
    """Patches, places, one block of attention and of GELU, the mean of the tokens."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Conv(16, (4, 4), strides=4, padding="VALID", name="patches")(x).reshape(x.shape[0], 16, 16)
        x = x + self.param("place", linen.initializers.normal(0.1), (1, 16, 16))
        x = x + linen.MultiHeadDotProductAttention(2, deterministic=True)(linen.LayerNorm()(x))
        x = x + linen.Dense(16)(linen.gelu(linen.Dense(32)(linen.LayerNorm()(x))))
        made: jax.Array = linen.Dense(4)(x.mean(1))
        return made


def _bound(module: Any, **options: bool) -> Any:
    return module.bind(module.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), **options))


def residual() -> Any:
    return _bound(Residual(), train=False)


def painter() -> Any:
    return _bound(Painter())


def attending() -> Any:
    return _bound(Attending())
