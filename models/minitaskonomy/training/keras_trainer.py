"""Training in Keras: `python -m models.minitaskonomy.training.keras_trainer ORDER`, in an interpreter that has it."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

from models.minitaskonomy.tasks import SIZE, Kind
from models.minitaskonomy.training import process
from models.minitaskonomy.training.process import Array, LabelledImages, Order, Say, TrainingResult

WIDTH = 48
#: Blocks of the encoder: channels, stride; each widens threefold in between.
BLOCKS = ((24, 2), (32, 2), (WIDTH, 1), (WIDTH, 1))


def build_network(kind: Kind, channels: int) -> Any:
    """A small MobileNetV2 (Sandler et al., CVPR 2018) in single precision: 31 thousand weights before the decoder.

    It takes float32 [images, 64, 64, 3] in −1..1; its layer `encoder` gives [images, 8, 8, 48].
    """
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.ReLU(6.0)(add_conv(image, 16, stride=2))
    for width, stride in BLOCKS:
        x = add_inverted_block(x, width, stride)
    return keras.Model(image, add_decoder(layers.Activation("linear", name="encoder")(x), kind, channels))


def add_conv(x: Any, width: int, kernel: int = 3, stride: int = 1) -> Any:
    """Symmetric padding, convolution, batch norm."""
    padded = layers.ZeroPadding2D(kernel // 2)(x) if kernel > 1 else x
    return add_batch_norm(layers.Conv2D(width, kernel, stride, use_bias=False)(padded))


def add_batch_norm(x: Any) -> Any:
    """Batch norm with PyTorch's numbers."""
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)


def add_inverted_block(x: Any, width: int, stride: int) -> Any:
    """Widen, convolve each channel alone, narrow again; a shortcut where the shape stays."""
    inside = x.shape[-1]
    wide = layers.ReLU(6.0)(add_conv(x, 3 * inside, 1))
    alone = add_batch_norm(layers.DepthwiseConv2D(3, stride, use_bias=False)(layers.ZeroPadding2D(1)(wide)))
    narrow = add_conv(layers.ReLU(6.0)(alone), width, 1)
    return layers.Add()([x, narrow]) if stride == 1 and inside == width else narrow


def add_decoder(x: Any, kind: Kind, channels: int) -> Any:
    """The decoder of `networks`, for the kinds that the second group has."""
    if kind not in ("image", "pixel classes"):
        raise ValueError(f"there is no decoder for {kind}")
    for _ in range(2):
        x = shuffle_pixels(layers.ReLU()(add_conv(x, WIDTH)))
    return shuffle_pixels(layers.Conv2D(4 * channels, 3)(layers.ZeroPadding2D(1)(x)))


def shuffle_pixels(x: Any) -> Any:
    """Twice as large: each pixel's channels become four pixels of a quarter of them."""
    height, width, channels = x.shape[1:]
    parts = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((height, width, 2, 2, channels // 4))(x))
    return layers.Reshape((2 * height, 2 * width, channels // 4))(parts)


def train(order: Order, seen: LabelledImages, say: Say) -> TrainingResult:
    """Train a network of Keras."""
    keras.utils.set_random_seed(order.job.seed)
    model = build_network(order.job.task.kind, order.job.task.channels)
    settings, classes = order.settings, order.job.task.kind == "pixel classes"
    fault = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if classes else keras.losses.MeanSquaredError()
    optimiser = keras.optimizers.AdamW(settings.rate, weight_decay=settings.decay)
    model.compile(optimiser, fault)
    losses = _run_epochs(model, order, seen, say)
    return TrainingResult(model.save_weights, lambda images: answer(model, images), losses)


def _run_epochs(model: Any, order: Order, seen: LabelledImages, say: Say) -> list[float]:
    settings, count = order.settings, len(seen.images)
    steps, step, losses = process.count_steps(count, settings), 0, list[float]()
    rng = np.random.default_rng(order.job.seed)
    for epoch in range(settings.epochs):
        model.reset_metrics()
        for rows in process.draw_batches(count, order, epoch):
            model.optimizer.learning_rate.assign(process.compute_rate(step, steps, settings))
            labels = seen.labels[rows]
            loss = model.train_on_batch(
                process.add_noise(seen.images[rows], settings, rng), _move_channels_last(labels) if labels.ndim > 3 else labels
            )
            step += 1
        losses.append(float(loss))
        say(process.format_epoch(epoch, settings, losses[-1]))
    return losses


def _move_channels_last(values: Array) -> Array:
    """Channels from the second place to the last."""
    return np.moveaxis(values, 1, -1)


def answer(model: Any, images: Array) -> Array:
    """What the network says of images uint8 [n, 3, 64, 64], channels second."""
    x = np.ascontiguousarray(_move_channels_last(images)).astype(np.float32) / 127.5 - 1.0
    return np.moveaxis(model.predict(x, batch_size=250, verbose=0), -1, 1)


if __name__ == "__main__":
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    process.run_order(train, sys.argv[1])
