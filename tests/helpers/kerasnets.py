"""Networks of Keras that the tests convert, as a user would write them. Loads TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

SIZE = 16
SHAPE = (SIZE, SIZE, 3)


def shaken(model: Any, seed: int) -> Any:
    """The same network with statistics of its own in every normalisation."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif "mean" in weight.path or "bias" in weight.path:
            weight.assign(rng.standard_normal(weight.shape) * 0.3)
    return model


def plain(seed: int = 0) -> Any:
    """Convolution, normalisation, pooling, a dense layer. Layer `features` is before it."""
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE, name="image")
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", name="conv")(image))
    x = layers.Conv2D(8, 3, strides=2, activation="silu", name="second")(layers.ReLU()(x))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return shaken(keras.Model(image, layers.Dense(4, name="head")(x), name="plain"), seed)


def grouped(seed: int = 0) -> Any:
    """A grouped convolution and GELU, which Keras compiles on its own."""
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 4, strides=4)(image)
    x = layers.Conv2D(8, 3, padding="same", groups=8)(x)
    x = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(image, layers.Dense(4)(x), name="grouped")


def sequential(seed: int = 0) -> Any:
    """A Sequential network that rescales its pixels, and normalises them by stored numbers."""
    keras.utils.set_random_seed(seed)
    scaled = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    return keras.Sequential(
        [keras.Input(SHAPE), layers.Rescaling(1 / 255), scaled, layers.Conv2D(6, 3, activation="relu"),
         layers.GlobalAveragePooling2D(name="features"), layers.Dense(4)], name="sequential",
    )  # fmt: skip


def heads(seed: int = 0) -> Any:
    """Two outputs under names."""
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE, name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    return keras.Model(image, [layers.Dense(4, name="zebra")(x), layers.Dense(2, name="apple")(x)])


class Subclassed(keras.Model):  # type: ignore[misc]
    """A network whose call is code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = layers.Conv2D(6, 3, activation="relu"), layers.Dense(4)

    def call(self, x: Any) -> Any:
        return self.head(tf.reduce_mean(self.conv(x), axis=(1, 2)))


def subclassed() -> Any:
    keras.utils.set_random_seed(0)
    made = Subclassed()
    made(np.zeros((1, *SHAPE), np.float32))
    return made


def two_inputs() -> Any:
    first, second = keras.Input(SHAPE), keras.Input(SHAPE)
    return keras.Model([first, second], layers.Conv2D(2, 3)(layers.Add()([first, second])))


def unsized() -> Any:
    return keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])


def twin(weights: dict[str, NDArray[np.float32]]) -> Any:
    """`tests.helpers.torchnets.plain` with its weights, layer for layer."""
    image = keras.Input(SHAPE, name="image")
    norm = layers.BatchNormalization(epsilon=1e-5, name="norm")
    x = layers.ReLU()(norm(layers.Conv2D(6, 3, padding="same", name="conv")(image)))
    x = layers.Conv2D(8, 3, strides=2, activation="silu", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(image, layers.Dense(4, name="head")(x), name="twin")
    for name in ("conv", "second"):
        model.get_layer(name).set_weights([weights[f"{name}.weight"].transpose(2, 3, 1, 0), weights[f"{name}.bias"]])
    norm.set_weights([weights[f"norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
    model.get_layer("head").set_weights([weights["head.weight"].T, weights["head.bias"]])
    return model


def slopes(model: Any, values: NDArray[np.float32], layer: str | None = None) -> NDArray[np.float64]:
    """d(sum of the output, or of a layer's)/dx by TensorFlow, float64 of the images' shape."""
    part = model if layer is None else keras.Model(model.inputs, model.get_layer(layer).output)
    point = tf.convert_to_tensor(values)
    with tf.GradientTape() as tape:
        tape.watch(point)
        total = tf.reduce_sum(tf.nest.flatten(part(point, training=False))[0])
    made: NDArray[np.float64] = tape.gradient(total, point).numpy().astype(np.float64)
    return made


def lite(model: Any, path: Path, *, whole: bool = False) -> Path:
    """A network as a TFLite file: in float, or in int8 from end to end."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if whole:
        rng = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        shape = (1, *model.inputs[0].shape[1:])
        converter.representative_dataset = lambda: ([rng.uniform(-1, 1, shape).astype(np.float32)] for _ in range(32))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def graph(model: Any, path: Path) -> Path:
    """A network as a frozen graph, as TensorFlow 1 kept them."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    call = tf.function(lambda image: model(image, training=False), autograph=False)
    made = convert_variables_to_constants_v2(call.get_concrete_function(tf.TensorSpec((None, *SHAPE), tf.float32)))
    path.write_bytes(made.graph.as_graph_def().SerializeToString())
    return path
