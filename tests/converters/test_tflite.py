"""Custom operators of TFLite and MediaPipe, what a file says of its images, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxspace.errors import ModelError
from onnxspace.exporters import Request, run
from onnxspace.model import runtime
from onnxspace_converters.tflite_rewrite import replace_custom
from tests.helpers.framework_files import SHAPE, Images, agree
from tests.helpers.litesparse import with_custom_transpose, with_places
from tests.helpers.litewriter import with_metadata

pytestmark = pytest.mark.frameworks

BIAS = np.array([0.5, -1.0, 2.0, 0.25])


def transposed(padding: str) -> Any:
    import keras as library

    image = library.Input(batch_shape=(1, *SHAPE))
    kept = library.layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    return library.Model(image, library.layers.Conv2DTranspose(4, 3, strides=(2, 2), padding=padding, use_bias=False)(kept))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_transposed_convolution_of_mediapipe_has_its_bias(keras: Any, padding: str, tmp_path: Path) -> None:
    network = transposed(padding)
    path = keras.lite(network, tmp_path / "net.tflite")
    path.write_bytes(with_custom_transpose(path.read_bytes(), BIAS))
    run(str(path), tmp_path / "out.onnx", Request())
    agree(tmp_path / "out.onnx", lambda x: network(x, training=False).numpy() + BIAS.astype(np.float32))


def pool_with_places(x: Images, side: int = 2) -> tuple[Images, NDArray[np.int64]]:
    """The largest value of each window, and the first place that has it, row by row."""
    n, height, width, channels = x.shape
    windows = x.reshape(n, height // side, side, width // side, side, channels).transpose(0, 1, 3, 5, 2, 4)
    flat = windows.reshape(*windows.shape[:4], side * side)
    return flat.max(axis=-1), flat.argmax(axis=-1)


def unpool(values: Images, places: NDArray[np.int64], side: int = 2) -> Images:
    """Each value at its place of a window of zeros."""
    n, height, width, channels = values.shape
    found = np.zeros((n, height * side, width * side, channels), np.float32)
    for b, y, x, c in np.ndindex(values.shape):
        place = places[b, y, x, c]
        found[b, y * side + place // side, x * side + place % side, c] = values[b, y, x, c]
    return found


def pooling_layers() -> tuple[Any, list[Any]]:
    """An hourglass whose two poolings and two enlargements stand for those with places, and its convolutions; values are rounded to tie."""
    import keras as library

    library.utils.set_random_seed(5)
    convs = [library.layers.Conv2D(n, 3, padding="same", activation="relu") for n in (5, 6, 6, 5, 3)]
    image = library.Input(batch_shape=(1, *SHAPE))
    x = library.layers.MaxPooling2D(2)(convs[0](image))
    x = library.layers.MaxPooling2D(2)(convs[1](x))
    x = library.layers.UpSampling2D(2, interpolation="bilinear")(convs[2](x))
    x = library.layers.UpSampling2D(2, interpolation="bilinear")(convs[3](x))
    return library.Model(image, convs[4](x)), convs


def run_with_places(convs: list[Any], x: Images, activation: Callable[[Images], Images] = lambda values: values) -> Images:
    """The network of `pooling_layers` with places, its poolings and their inverses by NumPy."""
    first, places = pool_with_places(convs[0](x).numpy())
    second, more = pool_with_places(convs[1](activation(first)).numpy())
    enlarged = unpool(convs[2](activation(second)).numpy(), more)
    found: Images = convs[4](unpool(convs[3](enlarged).numpy(), places)).numpy()
    return found


@pytest.mark.parametrize("padding", [1, 2])
def test_poolings_with_places_of_mediapipe(keras: Any, padding: int, tmp_path: Path) -> None:
    network, convs = pooling_layers()
    path = keras.lite(network, tmp_path / "net.tflite")
    path.write_bytes(with_places(path.read_bytes(), (padding, 2, 2, 2, 2, 0)))
    run(str(path), tmp_path / "out.onnx", Request())
    agree(tmp_path / "out.onnx", lambda x: run_with_places(convs, x))
    x = np.zeros((1, *SHAPE), np.float32)  # all values of a window are equal: the first place counts
    np.testing.assert_allclose(
        runtime.run(onnx.load(tmp_path / "out.onnx"), {"image": x})[0], run_with_places(convs, x), atol=1e-6
    )


def test_the_activation_of_a_pooling_with_places(keras: Any, tmp_path: Path) -> None:
    network, convs = pooling_layers()
    convs[0].bias.assign(np.full(5, 8.0))  # what Relu6 cuts off
    path = keras.lite(network, tmp_path / "net.tflite")
    path.write_bytes(with_places(path.read_bytes(), (1, 2, 2, 2, 2, 3)))
    run(str(path), tmp_path / "out.onnx", Request())
    agree(tmp_path / "out.onnx", lambda x: run_with_places(convs, x, lambda values: np.clip(values, 0, 6)))


@pytest.mark.parametrize(
    ("window", "why"),
    [
        ((2, 1, 1, 2, 2, 0), "whose windows overlap"),
        ((2, 2, 2, 3, 3, 0), "whose windows overlap"),
        ((2, 3, 3, 3, 3, 0), "of an image whose sides are not multiples"),
    ],
)
def test_poolings_with_places_that_are_not_converted_are_named(
    keras: Any, window: tuple[int, ...], why: str, tmp_path: Path
) -> None:
    path = keras.lite(pooling_layers()[0], tmp_path / "net.tflite")
    path.write_bytes(with_places(path.read_bytes(), window))
    with pytest.raises(ModelError, match=rf"net.tflite has an operator MaxPoolingWithArgmax2D {why}"):
        run(str(path), tmp_path / "out.onnx", Request())


def test_a_custom_operator_without_a_published_meaning_is_named(keras: Any, tmp_path: Path) -> None:
    path = keras.lite(transposed("same"), tmp_path / "net.tflite")
    path.write_bytes(with_custom_transpose(path.read_bytes(), BIAS, "Landmarks2TransformMatrix"))
    with pytest.raises(
        ModelError, match=r"net.tflite has the custom operator 'Landmarks2TransformMatrix', whose meaning is not"
    ):
        run(str(path), tmp_path / "out.onnx", Request())


def test_a_damaged_file_with_a_custom_operator_is_a_sentence(keras: Any, tmp_path: Path) -> None:
    path = keras.lite(transposed("same"), tmp_path / "net.tflite")
    content, rng = bytearray(with_custom_transpose(path.read_bytes(), BIAS)), np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 6):
            damaged[place] = rng.integers(256)
        with suppress(ModelError):
            replace_custom(bytes(damaged), path)  # anything else fails the test


def test_tflite_metadata_says_how_images_are_normalised(keras: Any, tmp_path: Path) -> None:
    path = keras.lite(keras.plain(), tmp_path / "net.tflite")
    path.write_bytes(with_metadata(path.read_bytes(), (127.5,), (64.0,)))
    facts = run(str(path), tmp_path / "out.onnx", Request())
    assert (facts.said.scale, facts.said.mean, facts.said.std) == (1.0, (127.5,), (64.0,))


def test_tflite_needs_no_tensorflow(keras: Any, tmp_path: Path) -> None:
    """In a process where TensorFlow can't be imported, the stand-in does."""
    import subprocess
    import sys

    path = keras.lite(keras.grouped(), tmp_path / "net.tflite")
    code = (
        "import sys, importlib.abc\n"
        "class No(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('tensorflow', 'keras'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, No())\n"
        "import onnxspace_converters.tensorflow_stub as standin\n"
        "standin.find_spec = lambda name: None\n"
        "from pathlib import Path\nfrom onnxspace.exporters import Request, run\n"
        f"print(run({str(path)!r}, Path({str(tmp_path / 'out.onnx')!r}), Request()).difference)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < 1e-5
