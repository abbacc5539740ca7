"""Train, export and differentiate the Keras networks (one holds weights trained in PyTorch)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tasks
from tasks import CLASSES, NOISE, WORK, Spec

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def conv(x: keras.KerasTensor, width: int, act: bool = True) -> keras.KerasTensor:
    """Symmetric padding, 3x3 convolution, batch norm (PyTorch's epsilon), ReLU."""
    x = layers.Conv2D(width, 3, use_bias=False)(layers.ZeroPadding2D(1)(x))
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)
    return layers.ReLU()(x) if act else x


def block(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    """Two convolutions with a shortcut."""
    return layers.ReLU()(layers.Add()([x, conv(conv(x, width), width, act=False)]))


def residual(classes: int) -> keras.Model:
    """`torch_nets.Residual`, layer for layer."""
    image = keras.Input((64, 64, 3), name="image")
    x = layers.AveragePooling2D(2)(conv(image, 16))
    x = block(layers.AveragePooling2D(2)(conv(x, 32)), 32)
    x = block(layers.AveragePooling2D(2)(conv(x, 64)), 64)
    code = layers.GlobalAveragePooling2D(name="code")(x)
    return keras.Model(image, layers.Dense(classes)(code))


def rescaled(classes: int) -> keras.Model:
    """A plain convnet that takes pixels of 0-255 and brings them to -1..1 itself."""
    image = keras.Input((64, 64, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.GaussianNoise(NOISE / 2, seed=0)(x)  # in training only
    for width in (16, 32, 48, 64):
        x = layers.AveragePooling2D(2)(conv(x, width))
    code = layers.GlobalAveragePooling2D(name="code")(conv(x, 64))
    return keras.Model(image, layers.Dense(classes)(code))


BUILDERS = {"residual": residual, "rescaled": rescaled}


def build(spec: Spec) -> keras.Model:
    """The untrained network."""
    keras.utils.set_random_seed(0)
    return BUILDERS[spec.net](CLASSES[spec.label])


def load(spec: Spec) -> keras.Model:
    """The trained network."""
    model = build(spec)
    model.load_weights(WORK / f"{spec.name}.weights.h5")
    return model


def port(spec: Spec, model: keras.Model) -> None:
    """Fill `model` with the weights of the PyTorch network `spec.start`, in order."""
    import torch

    state = torch.load(WORK / f"{spec.start}.pt", weights_only=True)
    arrays = [value.numpy() for key, value in state.items() if "num_batches" not in key]
    for layer in (layer for layer in model.layers if layer.weights):
        own = [arrays.pop(0) for _ in layer.weights]
        own[0] = own[0].transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[own[0].ndim])
        layer.set_weights(own)
    assert not arrays, "weights left over"


def train(spec: Spec) -> None:
    """Train (or port), and keep the weights in the work folder."""
    model = build(spec)
    if spec.start:
        port(spec, model)
    else:
        x, y = spec.batch(tasks.data(spec.label))
        steps = spec.epochs * -(-len(x) // 64)
        rate = keras.optimizers.schedules.CosineDecay(spec.rate, steps)
        model.compile(
            keras.optimizers.AdamW(rate, weight_decay=0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        model.fit(x, y, batch_size=64, epochs=spec.epochs, verbose=0)
    model.save_weights(WORK / f"{spec.name}.weights.h5")


def predict(spec: Spec, x: np.ndarray) -> np.ndarray:
    """The network's own output."""
    return load(spec).predict(x, batch_size=250, verbose=0)


def gradient(spec: Spec, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's output and the gradient of its sum over the input."""
    model = load(spec)
    encoder = keras.Model(model.inputs, model.get_layer("code").output)
    point = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(point)
        code = encoder(point, training=False)
        total = tf.reduce_sum(code)
    return code.numpy(), tape.gradient(total, point).numpy()


def export(spec: Spec, path: Path) -> None:
    """Write the ONNX file, with a free batch size."""
    if spec.exporter == "TFLite":
        _through_tflite(spec, path)
    else:
        _frozen(spec, path)


def _frozen(spec: Spec, path: Path) -> None:
    """Keras -> a graph of constants -> ONNX."""
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    model = load(spec)
    call = tf.function(lambda image: tf.identity(model(image, training=False), name="output"))
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")
    frozen = convert_variables_to_constants_v2(call.get_concrete_function(signature))
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        name=spec.name,
        opset=17,
        output_path=str(path),
        input_names=[tensor.name for tensor in frozen.inputs],
        output_names=[tensor.name for tensor in frozen.outputs],
    )


def _through_tflite(spec: Spec, path: Path) -> None:
    """Keras -> TFLite (float, kept in the work folder) -> ONNX."""
    import tf2onnx

    lite = WORK / f"{spec.name}.tflite"
    lite.write_bytes(tf.lite.TFLiteConverter.from_keras_model(load(spec)).convert())
    tf2onnx.convert.from_tflite(str(lite), opset=17, output_path=str(path))
