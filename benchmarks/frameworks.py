"""Networks of Keras, TFLite and JAX for the table of benchmarks/converters.py: one small member of each family, random weights.

pip install 'onnxspace[tensorflow,tflite,jax]' && python benchmarks/converters.py --only keras: [--write]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxspace_converters.loaded import Loaded

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
    "Equinox CNN": "single", "Equinox residual": "steps", "Equinox encoder–decoder": "drawing", "Equinox ViT": "looking",
}  # fmt: skip
NAMES = (
    *(f"keras:{name}" for name in KERAS),
    *(f"{kind}:{name}" for name in LITE for kind in ("tflite", "int8")),
    *(f"jax:{name}" for name in JAX),
)


def loaded(name: str, folder: Path) -> Loaded:
    """A network of `NAMES`, ready to be exported."""
    kind, _, short = name.partition(":")
    return {"keras": _keras, "tflite": _lite, "int8": _lite, "jax": _jax}[kind](short, folder, kind)


def _application(name: str) -> Any:
    from onnxspace_converters.tensorflowroutes import quiet

    quiet()
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


def _keras(name: str, folder: Path, _kind: str) -> Loaded:
    from onnxspace.exporters import Request, Source
    from onnxspace_converters.from_keras import loaded as of

    path = folder / f"{name}.keras"
    _application(name).save(path)
    return of(Source(str(path)), Request())


def _lite(name: str, folder: Path, kind: str) -> Loaded:
    from onnxspace.exporters import Request, Source
    from onnxspace_converters.from_tflite import loaded as of

    model, path = _application(name), folder / f"{name}.tflite"
    path.write_bytes(_converter(model, whole=kind == "int8").convert())
    return of(Source(str(path)), Request())


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


def _jax(name: str, _folder: Path, _kind: str) -> Loaded:
    from onnxspace.exporters import Request, Source
    from onnxspace_converters.from_jax import loaded as of

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests import flaxnets

    factory: Callable[[], object] = getattr(flaxnets, JAX[name])
    shape = (3, 16, 16) if name.startswith("Equinox") else (16, 16, 3)
    return of(Source(f"tests.flaxnets:{JAX[name]}", made=factory()), Request(input=shape))
