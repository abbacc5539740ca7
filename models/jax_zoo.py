"""Train, export and differentiate the JAX (Flax nnx) network."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update(JAX_PLATFORMS="cpu")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import tasks
from tasks import CLASSES, NOISE, SPARSE, WORK, Spec

BATCH = 64


class Conv(nnx.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inside: int, outside: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(inside, outside, (3, 3), padding=((1, 1), (1, 1)), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(outside, momentum=0.9, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[images, height, width, channels], same size in and out."""
        return nnx.relu(self.norm(self.conv(x)))


def halve(x: jax.Array) -> jax.Array:
    """Mean of every 2 x 2 pixels."""
    return nnx.avg_pool(x, window_shape=(2, 2), strides=(2, 2))


class Plain(nnx.Module):
    """A plain convnet that shrinks by average pooling; 64 units before the head."""

    def __init__(self, classes: int, rngs: nnx.Rngs) -> None:
        self.one, self.two = Conv(3, 16, rngs), Conv(16, 32, rngs)
        self.three, self.four = Conv(32, 64, rngs), Conv(64, 64, rngs)
        self.five = Conv(64, 64, rngs)
        self.head = nnx.Linear(64, classes, rngs=rngs)

    def encode(self, x: jax.Array) -> jax.Array:
        """The tensor that is explained, [images, 64]."""
        x = halve(self.two(halve(self.one(x))))
        return jnp.mean(self.five(self.four(halve(self.three(x)))), axis=(1, 2))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Class scores."""
        return self.head(self.encode(x))


def build(spec: Spec) -> nnx.Module:
    """The untrained network."""
    return {"Plain": Plain}[spec.net](CLASSES[spec.label], nnx.Rngs(0))


def _weights(model: nnx.Module) -> tuple[list, object]:
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return jax.tree.flatten(state)


def load(spec: Spec) -> nnx.Module:
    """The trained network, in evaluation mode."""
    model = build(spec)
    with np.load(WORK / f"{spec.name}.npz") as stored:
        arrays = [jnp.asarray(stored[key]) for key in stored]
    nnx.update(model, jax.tree.unflatten(_weights(model)[1], arrays))
    model.eval()
    return model


@nnx.jit
def step(model: nnx.Module, optimiser: nnx.Optimizer, x: jax.Array, y: jax.Array) -> None:
    """One step of training."""

    def loss(net: nnx.Module) -> jax.Array:
        code = net.encode(x)
        error = optax.softmax_cross_entropy_with_integer_labels(net.head(code), y)
        return error.mean() + SPARSE * code.mean()

    optimiser.update(model, nnx.grad(loss)(model))


def train(spec: Spec) -> None:
    """Train, and keep the weights in the work folder."""
    model, rng = build(spec), np.random.default_rng(0)
    x, y = spec.batch(tasks.data(spec.label))
    steps = len(x) // BATCH
    rate = optax.cosine_onecycle_schedule(spec.epochs * steps, spec.rate)
    optimiser = nnx.Optimizer(model, optax.adamw(rate, weight_decay=0.02), wrt=nnx.Param)
    model.train()
    for _ in range(spec.epochs):
        for rows in rng.permutation(len(x))[: steps * BATCH].reshape(steps, BATCH):
            seen = np.rot90(x[rows], rng.integers(4), (1, 2))
            noise = rng.normal(size=seen.shape) * rng.uniform(0, NOISE, (BATCH, 1, 1, 1))
            step(model, optimiser, (seen + noise).astype(np.float32), y[rows])
    WORK.mkdir(exist_ok=True)
    np.savez(WORK / f"{spec.name}.npz", *map(np.asarray, _weights(model)[0]))


def predict(spec: Spec, x: np.ndarray) -> np.ndarray:
    """The network's own output."""
    model = load(spec)
    return np.concatenate([model(x[at : at + 250]) for at in range(0, len(x), 250)])


def gradient(spec: Spec, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's output and the gradient of its sum over the input."""
    model = load(spec)
    slope = jax.grad(lambda point: model.encode(point).sum())(jnp.asarray(x))
    return np.asarray(model.encode(jnp.asarray(x))), np.asarray(slope)


def export(spec: Spec, path: Path) -> None:
    """Write the ONNX file, with a free batch size."""
    import onnx
    from jax2onnx import to_onnx

    model = load(spec)
    onnx.save(to_onnx(model, [("batch", 64, 64, 3)], model_name=spec.name, opset=18), path)
