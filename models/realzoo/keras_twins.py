"""Networks of Keras with the weights of those of PyTorch, exported by tf2onnx; run by an interpreter that has Keras.

python keras_twins.py '{"architecture": "plain", "byte": true, "name": "emoji-plain"}' weights.npz emoji-plain.onnx
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def convolve(x: Any, width: int, stride: int = 1, kernel: int = 3, depthwise: bool = False) -> Any:
    """Symmetric padding, a convolution without bias, and PyTorch's batch normalisation."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    layer = layers.DepthwiseConv2D if depthwise else layers.Conv2D
    made = layer(kernel, stride, use_bias=False) if depthwise else layer(width, kernel, stride, use_bias=False)
    return layers.BatchNormalization(epsilon=1e-5)(made(x))


def add_block(x: Any, width: int) -> Any:
    """Two convolutions with a shortcut."""
    inside = layers.ReLU()(convolve(x, width))
    return layers.ReLU()(layers.Add()([x, convolve(inside, width)]))


def encode_residual(x: Any) -> Any:
    """As `networks.build_residual`."""
    x = layers.ReLU()(convolve(x, 16, 2))
    x = add_block(layers.ReLU()(convolve(x, 24, 2)), 24)
    return add_block(layers.ReLU()(convolve(x, 28, 2)), 28)


def encode_plain(x: Any) -> Any:
    """As `networks.build_plain`."""
    for width in (12, 24, 32):
        x = layers.MaxPooling2D(2)(layers.ReLU()(convolve(x, width)))
    return layers.ReLU()(convolve(x, 36))


def encode_depthwise(x: Any) -> Any:
    """As `networks.build_depthwise`."""
    x = layers.ReLU(max_value=6)(convolve(x, 16, 2))
    for width, stride in ((32, 1), (48, 2), (48, 1), (64, 2), (80, 1)):
        x = layers.ReLU(max_value=6)(convolve(x, 0, stride, depthwise=True))
        x = layers.ReLU(max_value=6)(convolve(x, width, kernel=1))
    return x


ENCODERS = {"residual": encode_residual, "plain": encode_plain, "depthwise": encode_depthwise}


def build(architecture: str, byte: bool, classes: int) -> keras.Model:
    """An untrained network; one for bytes divides them by 255 first."""
    image = keras.Input((32, 32, 3), name="image")
    x = ENCODERS[architecture](layers.Rescaling(1 / 255)(image) if byte else image)
    return keras.Model(image, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def fill(model: keras.Model, arrays: list[np.ndarray]) -> None:
    """Put the weights of PyTorch into the layers, in order."""
    for layer in (one for one in model.layers if one.weights):
        own = [arrays.pop(0) for _ in layer.weights]
        if own[0].ndim == 4:
            own[0] = own[0].transpose((2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0))
        elif own[0].ndim == 2:
            own[0] = own[0].T
        layer.set_weights(own)
    if arrays:
        raise ValueError(f"{len(arrays)} weights are left over")


def export(model: keras.Model, name: str, path: str) -> None:
    """A graph of constants, then ONNX with a free batch size."""
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    call = tf.function(lambda image: tf.identity(model(image, training=False), name="output"))
    frozen = convert_variables_to_constants_v2(
        call.get_concrete_function(tf.TensorSpec((None, 32, 32, 3), tf.float32, name="image"))
    )
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(), name=name, opset=17, output_path=path,
        input_names=[one.name for one in frozen.inputs], output_names=[one.name for one in frozen.outputs],
    )  # fmt: skip


def main(about: str, weights: str, path: str) -> None:
    """Build, fill, export."""
    wanted = json.loads(about)
    with np.load(weights, allow_pickle=False) as found:
        arrays = [found[key] for key in found.files]
    model = build(wanted["architecture"], wanted["byte"], len(arrays[-1]))
    fill(model, arrays)
    export(model, wanted["name"], path)


if __name__ == "__main__":
    main(*sys.argv[1:])
