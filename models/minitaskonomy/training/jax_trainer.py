"""Training in JAX (Flax nnx, Optax): `python -m models.minitaskonomy.training.jax_trainer ORDER`, in an interpreter that has them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.minitaskonomy.tasks import Kind
from models.minitaskonomy.training import process
from models.minitaskonomy.training.process import Array, LabelledImages, Order, Say, TrainingResult

WIDTH, INSIDE, GRID, HEADS, DEPTH = 48, 72, 8, 4, 2
#: Width inside the decoder: smaller than that of the others, for the encoder is larger.
NARROW = 36


class Block(nnx.Module):
    """Attention of all tokens to all, then each token alone; norms before both."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.before, self.between = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
        self.ask, self.give = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.wide, self.narrow = nnx.Linear(WIDTH, INSIDE, rngs=rngs), nnx.Linear(INSIDE, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[images, tokens, width], same shape in and out."""
        x = x + self.give(self.attend(self.before(x)))
        return x + self.narrow(nnx.gelu(self.wide(self.between(x))))

    def attend(self, x: jax.Array) -> jax.Array:
        """The mean of what the tokens say, weighed by how well questions and answers fit."""
        parts = self.ask(x).reshape(-1, GRID * GRID, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
        weights = jax.nn.softmax(parts[0] @ parts[1].swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5, axis=-1)
        return (weights @ parts[2]).transpose(0, 2, 1, 3).reshape(-1, GRID * GRID, WIDTH)


class Encoder(nnx.Module):
    """A small ViT (Dosovitskiy et al., ICLR 2021), its patches of 8 × 8 taken in two steps: 40 thousand weights."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patch = nnx.Conv(3, 16, (4, 4), strides=4, padding="VALID", rngs=rngs)
        self.token = nnx.Conv(16, WIDTH, (2, 2), strides=2, padding="VALID", rngs=rngs)
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, GRID * GRID, WIDTH)))
        self.blocks = nnx.List([Block(rngs) for _ in range(DEPTH)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[images, 64, 64, 3] → tokens [images, 64, 48], row by row."""
        x = self.token(nnx.gelu(self.patch(x))).reshape(-1, GRID * GRID, WIDTH) + self.place[...]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Up(nnx.Module):
    """3 × 3 convolution, batch norm and ReLU (neither at the `last`), then each pixel's channels become four pixels."""

    def __init__(self, inside: int, outside: int, rngs: nnx.Rngs, last: bool = False) -> None:
        self.conv = nnx.Conv(inside, outside, (3, 3), padding=((1, 1), (1, 1)), use_bias=last, rngs=rngs)
        self.norm = None if last else nnx.BatchNorm(outside, momentum=0.9, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[images, h, w, inside] → [images, 2h, 2w, outside / 4]."""
        x = self.conv(x)
        x = x if self.norm is None else nnx.relu(self.norm(x))
        _, height, width, channels = x.shape
        parts = x.reshape(-1, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
        return parts.reshape(-1, 2 * height, 2 * width, channels // 4)


class Net(nnx.Module):
    """Encoder and decoder. It takes float32 [images, 64, 64, 3] in −1..1 and gives [images, 64, 64, channels]."""

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(rngs)
        self.ups = nnx.List([Up(WIDTH, NARROW, rngs), Up(NARROW // 4, NARROW, rngs), Up(NARROW // 4, 4 * channels, rngs, True)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Standardised values, or class scores of pixels."""
        x = self.encoder(x).reshape(-1, GRID, GRID, WIDTH)
        for up in self.ups:
            x = up(x)
        return x


def build_network(kind: Kind, channels: int, seed: int = 0) -> Net:
    """An untrained network for a kind of label that has pixels."""
    if kind not in ("image", "pixel classes"):
        raise ValueError(f"there is no decoder for {kind}")
    return Net(channels, nnx.Rngs(seed))


def train(order: Order, seen: LabelledImages, say: Say) -> TrainingResult:
    """Train a network of Flax."""
    import optax

    task, settings = order.job.task, order.settings
    net = build_network(task.kind, task.channels, order.job.seed)
    steps = process.count_steps(len(seen.images), settings)
    rates = jnp.array([process.compute_rate(step, steps, settings) for step in range(steps)])
    optimiser = nnx.Optimizer(net, optax.adamw(lambda step: rates[step], weight_decay=settings.decay), wrt=nnx.Param)
    losses = _run_epochs(net, optimiser, order, seen, say)
    net.eval()
    return TrainingResult(lambda path: save(net, path), lambda images: answer(net, images), losses)


def _run_epochs(net: Net, optimiser: Any, order: Order, seen: LabelledImages, say: Say) -> list[float]:
    settings, count, rng = order.settings, len(seen.images), np.random.default_rng(order.job.seed)
    step, losses = nnx.cached_partial(_compile_step(order.job.task.kind), net, optimiser), list[float]()
    net.train()
    for epoch in range(settings.epochs):
        found = [
            step(process.add_noise(seen.images[rows], settings, rng), seen.labels[rows])
            for rows in process.draw_batches(count, order, epoch)
        ]
        losses.append(float(jnp.stack(found).mean()))
        say(process.format_epoch(epoch, settings, losses[-1]))
    return losses


def _compile_step(kind: Kind) -> Any:
    """One step of training, compiled; it gives the loss before the step."""

    def step(net: Net, optimiser: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        error, slope = nnx.value_and_grad(lambda found: compute_loss(kind, found(x), y))(net)
        optimiser.update(net, slope)
        return error

    return nnx.jit(step)


def compute_loss(kind: Kind, found: jax.Array, truth: jax.Array) -> jax.Array:
    """The loss of `networks.compute_loss` for answers with their channels last."""
    if kind == "image":
        return jnp.square(found - truth.transpose(0, 2, 3, 1)).mean()
    return -jnp.take_along_axis(jax.nn.log_softmax(found), truth[..., None], -1).mean()


def answer(net: Net, images: Array) -> Array:
    """What the network says of images uint8 [n, 3, 64, 64], channels second."""
    x = images.transpose(0, 2, 3, 1).astype(np.float32) / 127.5 - 1.0
    run = nnx.jit(lambda net, part: net(part))
    return np.concatenate([np.asarray(run(net, x[at : at + 250])) for at in range(0, len(x), 250)]).transpose(0, 3, 1, 2)


def save(net: Net, path: Path) -> None:
    """Weights and running moments under their dotted names, as the converter reads them."""
    from safetensors.numpy import save_file

    from onnxspace_converters.jax_networks import named_arrays

    state = nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))
    save_file({name.removesuffix(".value"): np.asarray(leaf) for name, leaf in named_arrays(state).items()}, path)


if __name__ == "__main__":
    process.run_order(train, sys.argv[1])
