"""Networks of Keras, TensorFlow and TFLite: the same outputs, the same maps as the framework's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxspace.exporters import Request, run
from onnxspace.model import runtime
from tests.helpers.framework_files import SHAPE, agree, frozen_graph, h5_file, keras_file, lite_file, saved_model
from tests.helpers.litesparse import with_sparse_weights
from tests.helpers.noise import probes
from tests.helpers.slopes import along, last

pytestmark = pytest.mark.frameworks


@pytest.mark.parametrize("make", [keras_file, h5_file, saved_model, frozen_graph, lite_file])
def test_each_file_of_tensorflow_gives_its_outputs_and_maps(
    make: Callable[..., tuple[str, Request]], keras: Any, tmp_path: Path
) -> None:
    network, target = keras.plain(seed=3), tmp_path / "out.onnx"
    source, request = make(keras, network, tmp_path)
    facts = run(source, target, request)
    agree(target, lambda x: network(x, training=False))
    along(target, facts.encoder, lambda x: keras.slopes(network, x, "features"))
    along(target, last(target), lambda x: keras.slopes(network, x))
    assert facts.difference is not None
    assert facts.difference < 1e-5
    assert len(facts.source_sha256 or "") == 64
    assert facts.versions["tf2onnx"]


@pytest.mark.parametrize("name", ["grouped", "sequential", "heads", "subclassed"])
def test_networks_of_keras_come_from_callables(name: str, keras: Any, tmp_path: Path) -> None:
    target, network = tmp_path / "out.onnx", getattr(keras, name)()
    run(f"tests.helpers.kerasnets:{name}", target, Request(input=SHAPE))
    agree(target, lambda x: keras.tf.nest.flatten(network(x, training=False))[0])
    along(target, last(target), lambda x: keras.slopes(network, x))


@pytest.mark.parametrize("make", [keras_file, h5_file, saved_model, frozen_graph, lite_file])
def test_grouped_convolutions_and_gelu_of_keras_have_its_maps(
    make: Callable[..., tuple[str, Request]], keras: Any, tmp_path: Path
) -> None:
    network, target = keras.grouped(), tmp_path / "out.onnx"
    source, request = make(keras, network, tmp_path)
    facts = run(source, target, request)
    assert facts.route == ("tf2onnx" if make is lite_file else "frozen graph")
    along(target, last(target), lambda x: keras.slopes(network, x))


def test_outputs_of_keras_keep_their_names_and_order(keras: Any, tmp_path: Path) -> None:
    run("tests.helpers.kerasnets:heads", tmp_path / "out.onnx", Request())
    assert [(value.name, value.type.tensor_type.shape.dim[1].dim_value) for value in onnx.load(tmp_path / "out.onnx").graph.output] == [
        ("zebra", 4), ("apple", 2)
    ]  # fmt: skip


def test_weights_of_keras_come_from_a_file(keras: Any, tmp_path: Path) -> None:
    network = keras.plain(seed=7)
    network.save_weights(tmp_path / "own.weights.h5")
    run("tests.helpers.kerasnets:plain", tmp_path / "out.onnx", Request(weights=str(tmp_path / "own.weights.h5")))
    agree(tmp_path / "out.onnx", lambda x: network(x, training=False))


@pytest.mark.parametrize(
    ("name", "scale", "mean", "color"),
    [
        ("MobileNetV2", 1 / 127.5, (1.0,), "RGB"),
        ("ResNet50", 1.0, (103.939, 116.779, 123.68), "BGR"),
        ("DenseNet121", 1 / 255, (0.485, 0.456, 0.406), "RGB"),
        ("EfficientNetB0", 1.0, (0.0,), "RGB"),
        ("NASNetMobile", 1 / 127.5, (1.0,), "RGB"),
        ("ConvNeXtTiny", 1.0, (0.0,), "RGB"),
    ],
)
def test_applications_say_how_their_images_are_to_be_prepared(
    name: str, scale: float, mean: tuple[float, ...], color: str, keras: Any
) -> None:
    """As each network's own `preprocess_input` does it."""
    from importlib import import_module

    from onnxspace_converters.compare import preprocess_of
    from onnxspace_converters.keras_applications import mode_of, preprocessing_of

    model = getattr(keras.keras.applications, name)(weights=None, input_shape=(32, 32, 3), include_top=False)
    found = preprocessing_of(mode_of(model), (32, 32, 3))
    assert (found.scale, found.mean, found.color) == (pytest.approx(scale), mean, color)
    made = preprocess_of((32, 32, 3), found)
    assert made is not None
    pixels = probes(2, 32).images
    modules = {
        "MobileNetV2": "mobilenet_v2", "ResNet50": "resnet50", "DenseNet121": "densenet", "EfficientNetB0": "efficientnet",
        "NASNetMobile": "nasnet", "ConvNeXtTiny": "convnext",
    }  # fmt: skip
    theirs = import_module(f"keras.applications.{modules[name]}").preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(made(pixels), theirs, atol=1e-4)


def test_a_quantised_tflite_file_takes_and_gives_real_numbers(keras: Any, tmp_path: Path) -> None:
    network, target = keras.plain(seed=3), tmp_path / "out.onnx"
    facts = run(str(keras.lite(network, tmp_path / "net.tflite", whole=True)), target, Request())
    model = onnx.load(target)
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {onnx.TensorProto.FLOAT}
    assert any(node.op_type == "DequantizeLinear" for node in model.graph.node)
    assert facts.said.scale == pytest.approx(2 / 255, rel=0.02)  # it was measured on images of -1 to 1
    x = np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE)).astype(np.float32)
    expected = network(x, training=False).numpy()
    assert np.abs(runtime.run(model, {"image": x})[0] - expected).max() < 0.1 * np.abs(expected).max()


def test_maps_of_an_int8_file_are_those_of_its_own_arithmetic(keras: Any, tmp_path: Path) -> None:
    """Its whole weights as real numbers, with TensorFlow's own gradient of the steps between layers.

    The network it was made from has other weights, and its values saturate nowhere: maps are near, and no more.
    """
    from tests.helpers.litetwin import Twin

    network, target = keras.plain(seed=3), tmp_path / "out.onnx"
    path = keras.lite(network, tmp_path / "net.tflite", whole=True)
    run(str(path), target, Request())
    along(target, None, Twin(path, rounded=True).slopes)
    along(target, None, Twin(path, rounded=False).slopes, 0.9)
    along(target, None, lambda x: keras.slopes(network, x, "features"), 0.9)


def test_sparse_weights_of_a_tflite_file_are_written_out(keras: Any, tmp_path: Path) -> None:
    network = keras.plain(seed=3)
    layer = next(one for one in network.layers if len(one.weights) and one.weights[0].ndim == 4)
    kernel, *rest = layer.get_weights()
    layer.set_weights([np.where(np.abs(kernel) < 0.05, 0, kernel), *rest])
    path = keras.lite(network, tmp_path / "net.tflite")
    path.write_bytes(with_sparse_weights(path.read_bytes()))
    run(str(path), tmp_path / "out.onnx", Request())
    agree(tmp_path / "out.onnx", lambda x: network(x, training=False).numpy())
