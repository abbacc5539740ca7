"""Networks of Flax (nnx, linen) and Equinox that the tests convert, as a user would write them. Loads JAX."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from numpy.typing import NDArray

SIZE = 16
SHAPE = (SIZE, SIZE, 3)


class Plain(nnx.Module):  # type: ignore[misc]
    """Convolution, normalisation, a mean, a dense layer, as `tests.helpers.torchnets.plain`."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(3, 6, (3, 3), padding=((1, 1), (1, 1)), rngs=rngs)
        self.norm = nnx.BatchNorm(6, epsilon=1e-5, rngs=rngs)
        self.second = nnx.Conv(6, 8, (3, 3), strides=2, padding="VALID", rngs=rngs)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def encode(self, x: jax.Array) -> jax.Array:
        return nnx.silu(self.second(nnx.relu(self.norm(self.conv(x))))).mean((1, 2))

    def __call__(self, x: jax.Array) -> jax.Array:
        made: jax.Array = self.head(self.encode(x))
        return made


def plain(seed: int = 0) -> Plain:
    made = Plain(nnx.Rngs(seed))
    made.norm.mean[...] = jax.random.normal(jax.random.key(seed), (6,)) * 0.3
    made.norm.var[...] = jax.random.uniform(jax.random.key(seed), (6,), minval=0.5, maxval=2)
    return made


def twin(weights: dict[str, NDArray[np.float32]]) -> Plain:
    """`tests.helpers.torchnets.plain` with its weights."""
    made = Plain(nnx.Rngs(0))
    for name in ("conv", "second"):
        layer = getattr(made, name)
        layer.kernel[...], layer.bias[...] = (
            jnp.asarray(weights[f"{name}.weight"].transpose(2, 3, 1, 0)),
            jnp.asarray(weights[f"{name}.bias"]),
        )
    parts = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    for own, theirs in parts.items():
        getattr(made.norm, own)[...] = jnp.asarray(weights[f"norm.{theirs}"])
    made.head.kernel[...], made.head.bias[...] = jnp.asarray(weights["head.weight"].T), jnp.asarray(weights["head.bias"])
    return made


def like_torch() -> Plain:
    """`tests.helpers.torchnets.plain` in Flax."""
    from tests.helpers import torchnets

    return twin({name: value.numpy() for name, value in torchnets.plain().state_dict().items()})


class Block(nnx.Module):  # type: ignore[misc]
    """Two convolutions and a shortcut."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.one, self.two = (nnx.Conv(width, width, (3, 3), rngs=rngs) for _ in range(2))
        self.norm = nnx.BatchNorm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x + self.two(nnx.relu(self.norm(self.one(x)))))


class Residual(nnx.Module):  # type: ignore[misc]
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem, self.blocks = nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.List([Block(8, rngs), Block(8, rngs)])
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.stem(x)), (2, 2), (2, 2))
        for block in self.blocks:
            x = block(x)
        made: jax.Array = self.head(nnx.avg_pool(x, (8, 8), (8, 8)).reshape(x.shape[0], -1))
        return made


class Painter(nnx.Module):  # type: ignore[misc]
    """An encoder and a decoder with a skip and a resize."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.down = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.deep = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.up = nnx.ConvTranspose(16, 8, (2, 2), strides=2, rngs=rngs)
        self.last = nnx.Conv(8, 1, (3, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        low = nnx.relu(self.down(x))
        joined = low + self.up(nnx.relu(self.deep(low)))
        made: jax.Array = self.last(jax.image.resize(joined, (x.shape[0], SIZE, SIZE, 8), "bilinear"))
        return made


class Attending(nnx.Module):  # type: ignore[misc]
    """A small vision transformer: patches, one block of attention and of GELU, the mean of the tokens."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(3, 16, (4, 4), strides=4, padding="VALID", rngs=rngs)
        self.place = nnx.Param(jax.random.normal(rngs.params(), (1, 16, 16)) * 0.1)
        self.norm, self.second = nnx.LayerNorm(16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs)
        self.wide, self.narrow, self.head = (
            nnx.Linear(16, 32, rngs=rngs),
            nnx.Linear(32, 16, rngs=rngs),
            nnx.Linear(16, 4, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x).reshape(x.shape[0], 16, 16) + self.place[...]
        x = x + self.attention(self.norm(x))
        x = x + self.narrow(nnx.gelu(self.wide(self.second(x))))
        made: jax.Array = self.head(x.mean(1))
        return made


def residual(seed: int = 0) -> Residual:
    return Residual(nnx.Rngs(seed))


def painter(seed: int = 0) -> Painter:
    return Painter(nnx.Rngs(seed))


def attending(seed: int = 0) -> Attending:
    return Attending(nnx.Rngs(seed))


class Linen(linen.Module):  # type: ignore[misc]
    """Convolutions, dropout and normalisation in the older Flax, told by an argument that it is not trained."""

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Conv(6, (3, 3))(x)))
        x = linen.Dropout(0.5, deterministic=not train)(linen.Conv(8, (3, 3), strides=2)(x))
        made: jax.Array = linen.Dense(4)(linen.silu(x).mean((1, 2)))
        return made


def bare() -> Linen:
    return Linen()


def bound(seed: int = 0) -> Linen:
    """The same with its weights."""
    drawn = Linen().init(jax.random.key(seed), jnp.zeros((1, *SHAPE)), train=False)
    return Linen().bind(drawn)


class Single(eqx.Module):  # type: ignore[misc]
    """Equinox in its own way: one image, channels first."""

    conv: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d
    drop: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.conv, self.second = eqx.nn.Conv2d(3, 6, 3, key=keys[0]), eqx.nn.Conv2d(6, 8, 3, stride=2, key=keys[1])
        self.pool, self.drop, self.head = eqx.nn.MaxPool2d(2, 2), eqx.nn.Dropout(0.5), eqx.nn.Linear(8, 4, key=keys[2])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.silu(self.second(self.pool(jax.nn.relu(self.conv(x)))))
        return self.head(self.drop(x.mean((1, 2))))


class Steps(eqx.Module):  # type: ignore[misc]
    """A residual network of Equinox."""

    stem: eqx.nn.Conv2d
    convs: list[eqx.nn.Conv2d]
    norm: eqx.nn.GroupNorm
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        self.stem, self.norm = eqx.nn.Conv2d(3, 8, 3, padding=1, key=keys[0]), eqx.nn.GroupNorm(2, 8)
        self.convs = [eqx.nn.Conv2d(8, 8, 3, padding=1, key=each) for each in keys[1:3]]
        self.head = eqx.nn.Linear(8, 4, key=keys[3])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for conv in self.convs:
            x = x + jax.nn.relu(conv(self.norm(x)))
        return self.head(x.mean((1, 2)))


class Drawing(eqx.Module):  # type: ignore[misc]
    """An encoder and a decoder of Equinox."""

    down: eqx.nn.Conv2d
    up: eqx.nn.ConvTranspose2d
    last: eqx.nn.Conv2d

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.down = eqx.nn.Conv2d(3, 8, 3, stride=2, padding=1, key=keys[0])
        self.up, self.last = (
            eqx.nn.ConvTranspose2d(8, 8, 2, stride=2, key=keys[1]),
            eqx.nn.Conv2d(8, 1, 3, padding=1, key=keys[2]),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.nn.relu(self.up(jax.nn.relu(self.down(x)))))


class Looking(eqx.Module):  # type: ignore[misc]
    """A vision transformer of Equinox."""

    patches: eqx.nn.Conv2d
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    wide: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        self.patches, self.norm = eqx.nn.Conv2d(3, 16, 4, stride=4, key=keys[0]), eqx.nn.LayerNorm(16)
        self.attention = eqx.nn.MultiheadAttention(2, 16, key=keys[1])
        self.wide, self.head = eqx.nn.Linear(16, 16, key=keys[2]), eqx.nn.Linear(16, 4, key=keys[3])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x).reshape(16, -1).T
        inner = jax.vmap(self.norm)(x)
        x = x + self.attention(inner, inner, inner)
        x = x + jax.nn.gelu(jax.vmap(self.wide)(x))
        return self.head(x.mean(0))


def single(seed: int = 0) -> Single:
    return Single(jax.random.key(seed))


def steps(seed: int = 0) -> Steps:
    return Steps(jax.random.key(seed))


def drawing(seed: int = 0) -> Drawing:
    return Drawing(jax.random.key(seed))


def looking(seed: int = 0) -> Looking:
    return Looking(jax.random.key(seed))


def slopes(call: Callable[[jax.Array], jax.Array], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """d(sum of what a function gives)/dx by JAX, float64 of the images' shape."""
    found: Any = jax.grad(lambda x: call(x).sum())(jnp.asarray(values))
    return np.asarray(found, np.float64)
