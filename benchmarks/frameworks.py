"""Networks of Keras, TFLite and JAX for the table of benchmarks/converters.py: one small member of each family, random weights.

pip install 'onnxspace[tensorflow,tflite,jax]' && python benchmarks/converters.py --only keras: [--write]
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxspace_converters.loaded_network import LoadedNetwork
    from tests.helpers.slopes import Slopes

#: Networks of `keras.applications`, and the side of their images.
KERAS = {
    "ConvNeXtTiny": 64, "DenseNet121": 64, "EfficientNetB0": 64, "EfficientNetV2B0": 64, "InceptionResNetV2": 96, "InceptionV3": 96,
    "MobileNet": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "NASNetMobile": 64, "ResNet50": 64, "ResNet50V2": 64, "VGG16": 64,
    "Xception": 96,
}  # fmt: skip
LITE = ("MobileNetV2", "ResNet50", "EfficientNetB0", "DenseNet121")
#: Networks of `tests/flaxnets.py`, in the words of the table.
JAX = {
    "nnx CNN": "plain", "nnx residual": "residual", "nnx encoder–decoder": "painter", "nnx ViT": "attending", "linen CNN": "bound",
    "linen residual": "residual", "linen encoder–decoder": "painter", "linen ViT": "attending",
    "Equinox CNN": "single", "Equinox residual": "steps", "Equinox encoder–decoder": "drawing", "Equinox ViT": "looking",
}  # fmt: skip
NAMES = (
    *(f"keras:{name}" for name in KERAS),
    *(f"{kind}:{name}" for name in LITE for kind in ("tflite", "int8")),
    *(f"jax:{name}" for name in JAX),
)


def loaded(name: str, folder: Path) -> tuple[LoadedNetwork, Slopes | None]:
    """A network of `NAMES`, ready to be exported, and the gradients that its framework computes, if it does."""
    kind, _, short = name.partition(":")
    return {"keras": _keras, "tflite": _lite, "int8": _lite, "jax": _jax}[kind](short, folder, kind)


def _application(name: str) -> Any:
    from onnxspace_converters.tensorflow_routes import configure_tensorflow

    configure_tensorflow()
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    side = KERAS[name]
    made = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classifier_activation=None)
    rng = np.random.default_rng(0)
    for weight in made.weights:  # some noise, so that equal tensors are not merged
        if len(weight.shape) == 1:
            weight.assign(weight + 0.05 * rng.random(weight.shape))
    return made


def _slopes(model: Any) -> Slopes:
    from tests.helpers.kerasnets import slopes

    return lambda values: slopes(model, values)


def _keras(name: str, folder: Path, _kind: str) -> tuple[LoadedNetwork, Slopes | None]:
    from onnxspace.exporters import Request, Source
    from onnxspace_converters.from_keras import load_network as of

    model, path = _application(name), folder / f"{name}.keras"
    model.save(path)
    return of(Source(str(path)), Request()), _slopes(model)


def _lite(name: str, folder: Path, kind: str) -> tuple[LoadedNetwork, Slopes | None]:
    from onnxspace.exporters import Request, Source
    from onnxspace_converters.from_tflite import load_network as of

    model, path = _application(name), folder / f"{name}.tflite"
    path.write_bytes(_converter(model, whole=kind == "int8").convert())
    return of(Source(str(path)), Request()), None if kind == "int8" else _slopes(model)


def _converter(model: Any, *, whole: bool) -> Any:
    import numpy as np
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if whole:
        rng, shape = np.random.default_rng(0), (1, *model.inputs[0].shape[1:])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.uniform(-1, 1, shape).astype(np.float32)] for _ in range(8))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter


def _jax(name: str, _folder: Path, _kind: str) -> tuple[LoadedNetwork, Slopes | None]:
    from onnxspace.exporters import Request, Source
    from onnxspace_converters.from_jax import load_network as of
    from onnxspace_converters.jax_networks import adapt_network
    from tests.helpers import flaxnets

    module = "linennets" if name.startswith("linen ") and name != "linen CNN" else "flaxnets"
    factory: Callable[[], object] = getattr(importlib.import_module(f"tests.helpers.{module}"), JAX[name])
    shape, made = (3, 16, 16) if name.startswith("Equinox") else (16, 16, 3), factory()
    call = adapt_network(made, shape, None, None, name).call
    return of(Source(f"tests.helpers.{module}:{JAX[name]}", made=made), Request(input=shape)), lambda x: flaxnets.slopes(
        call, x
    )
