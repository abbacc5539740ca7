"""What TensorFlow's files may and may not bring: code, damage, batches of their own, and whole numbers of other widths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxspace import runtime
from onnxspace.errors import ModelError
from onnxspace.exporters import Request, run

pytestmark = pytest.mark.frameworks


@pytest.fixture
def keras() -> Any:
    from tests import kerasnets  # TensorFlow takes seconds, and other tests must not need it

    return kerasnets


def with_lambda(keras: Any, path: Path) -> Path:
    image = keras.keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Lambda(lambda x: x * 2, name="twice")(image))
    model = keras.keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    model.save(path)
    return path


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_lambda_layers_are_code_and_want_a_word(name: str, keras: Any, tmp_path: Path) -> None:
    path = with_lambda(keras, tmp_path / name)
    with pytest.raises(ModelError, match=r"holds the Lambda layer 'twice', which is code. If you trust it, add --allow-code"):
        run(str(path), tmp_path / "out.onnx", Request())
    assert run(str(path), tmp_path / "out.onnx", Request(allow_code=True)).framework == "Keras"


def test_a_graph_that_calls_python_is_refused(keras: Any, tmp_path: Path) -> None:
    tf = keras.tf
    call = tf.function(lambda image: tf.numpy_function(np.abs, [image], tf.float32)).get_concrete_function(
        tf.TensorSpec((None, 16, 16, 3))
    )
    (tmp_path / "net.pb").write_bytes(call.graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelError, match=r"runs code or touches files \(PyFunc\). If you trust it, add --allow-code"):
        run(str(tmp_path / "net.pb"), tmp_path / "out.onnx", Request())


def half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def damaged_h5(keras: Any, folder: Path) -> Path:
    keras.plain().save(folder / "net.h5")
    return half(folder / "net.h5")


def weights_alone(keras: Any, folder: Path) -> Path:
    keras.plain().save_weights(folder / "net.weights.h5")
    return folder / "net.weights.h5"


def damaged_graph(keras: Any, folder: Path) -> Path:
    return half(keras.graph(keras.plain(), folder / "net.pb"))


def damaged_saved(keras: Any, folder: Path) -> Path:
    keras.plain().export(folder / "net", verbose=False)
    half(folder / "net/saved_model.pb")
    return folder / "net"


def damaged_lite(keras: Any, folder: Path) -> Path:
    return half(keras.lite(keras.plain(), folder / "net.tflite"))


def other_layer(keras: Any, folder: Path) -> Path:
    image = keras.keras.Input((16, 16, 3))

    class Mine(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    keras.keras.Model(image, keras.layers.GlobalAveragePooling2D()(Mine()(image))).save(folder / "net.keras")
    return folder / "net.keras"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (damaged_h5, "is no HDF5 file, or a damaged one|can't be read as a network of Keras"),
        (weights_alone, "holds weights alone, and no network. Give them as --weights"),
        (damaged_graph, "is no graph of TensorFlow, or a damaged one"),
        (damaged_saved, "can't be read as a SavedModel"),
        (damaged_lite, "can't be read as a TFLite file"),
        (other_layer, "another package|a layer that Keras does not know .*Write a function that builds it"),
    ],
)
def test_damaged_and_foreign_files_are_refused(
    make: Callable[[Any, Path], Path], words: str, keras: Any, tmp_path: Path
) -> None:
    path = make(keras, tmp_path)
    with pytest.raises(ModelError, match=words):
        run(str(path), tmp_path / "out.onnx", Request())
    assert not (tmp_path / "out.onnx").exists()


def lite_of_batch(keras: Any, path: Path, batch: int) -> Path:
    tf, model = keras.tf, keras.plain()
    call = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec((batch, 16, 16, 3)))
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([call]).convert())
    return path


def test_tflite_files_of_one_image_stay_so(keras: Any, tmp_path: Path) -> None:
    run(str(lite_of_batch(keras, tmp_path / "net.tflite", 1)), tmp_path / "out.onnx", Request())
    assert onnx.load(tmp_path / "out.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    with pytest.raises(ModelError, match="takes batches of 4 only"):
        run(str(lite_of_batch(keras, tmp_path / "four.tflite", 4)), tmp_path / "out.onnx", Request())


@pytest.mark.parametrize("kind", ["int16", "weights", "float16"])
def test_other_whole_numbers_of_tflite_are_near_the_network(kind: str, keras: Any, tmp_path: Path) -> None:
    tf, model = keras.tf, keras.plain()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    if kind == "int16":
        converter.representative_dataset = lambda: ([rng.uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)] for _ in range(16))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    run(str(tmp_path / "net.tflite"), tmp_path / "out.onnx", Request())
    x = rng.uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    expected = model(x, training=False).numpy()
    found = runtime.run(onnx.load(tmp_path / "out.onnx"), {"image": x})[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
