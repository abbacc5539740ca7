"""Networks of Keras, TensorFlow, TFLite, JAX and scikit-learn: the same outputs, the same maps as the framework's own."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from onnxspace.cli import main
from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters import Request, run
from onnxspace.model import runtime
from onnxspace_converters.tflite_rewrite import replace_custom
from tests.helpers import sklearnnets, torchnets
from tests.helpers.litesparse import with_custom_transpose, with_places, with_sparse_weights
from tests.helpers.litewriter import with_metadata
from tests.helpers.noise import probes
from tests.helpers.slopes import along, last

pytestmark = pytest.mark.frameworks
SHAPE = (16, 16, 3)
Images = NDArray[np.float32]


@pytest.fixture
def keras() -> Any:
    from tests.helpers import kerasnets  # TensorFlow takes seconds, and other tests must not need it

    return kerasnets


@pytest.fixture
def flax() -> Any:
    from tests.helpers import flaxnets

    return flaxnets


def agree(path: Path, forward: Callable[[Images], Any], shape: tuple[int, ...] = SHAPE, most: float = 1e-5) -> None:
    """Outputs within 1e-5 of the largest value at two sizes of batch, where the file takes any."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    for batch in (1,) if fixed else (1, 5):
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        expected = np.asarray(forward(x))
        found = np.asarray(runtime.run(model, {"image": x})[0])
        assert np.abs(found - expected).max() <= most * np.abs(expected).max()


def keras_file(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    model.save(folder / "net.keras")
    return str(folder / "net.keras"), Request(encoder="features")


def h5_file(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    model.save(folder / "net.h5")
    return str(folder / "net.h5"), Request(encoder="features")


def saved_model(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    model.export(folder / "net", verbose=False)
    return str(folder / "net"), Request()


def frozen_graph(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    return str(keras.graph(model, folder / "net.pb")), Request()


def lite_file(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    return str(keras.lite(model, folder / "net.tflite")), Request()


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


FLAX = {
    "flaxnets:plain": "norm", "flaxnets:residual": "blocks.1", "flaxnets:painter": "deep", "flaxnets:attending": "norm",
    "flaxnets:bound": "Conv_1", "linennets:residual": "stem", "linennets:painter": "down", "linennets:attending": "patches",
}  # fmt: skip


@pytest.mark.parametrize("name", FLAX)
def test_networks_of_flax_give_its_outputs_and_maps(name: str, flax: Any, tmp_path: Path) -> None:
    """A CNN, a residual network, an encoder–decoder and a ViT, of nnx and of linen."""
    module, _, short = name.partition(":")
    network, target = getattr(importlib.import_module(f"tests.helpers.{module}"), short)(), tmp_path / "out.onnx"
    run(f"tests.helpers.{name}", target, Request(input=SHAPE, encoder=FLAX[name]))
    if isinstance(network, flax.nnx.Module):
        network.eval()
    trains = "train" in inspect.signature(type(network).__call__).parameters
    call = (lambda x: network(x, train=False)) if trains else network
    agree(target, call)
    along(target, last(target), lambda x: flax.slopes(call, x))


def test_a_layer_of_flax_is_found_and_has_its_maps(flax: Any, tmp_path: Path) -> None:
    network, target = flax.plain(), tmp_path / "out.onnx"
    facts = run("tests.helpers.flaxnets:plain", target, Request(input=SHAPE, encoder="norm"))
    network.eval()
    along(target, facts.encoder, lambda x: flax.slopes(lambda image: network.norm(network.conv(image)), x))


@pytest.mark.parametrize("name", ["single", "steps", "drawing", "looking"])
def test_networks_of_equinox_give_its_outputs_and_maps(name: str, flax: Any, tmp_path: Path) -> None:
    """A CNN, a residual network, an encoder–decoder and a ViT."""
    network, target = flax.eqx.nn.inference_mode(getattr(flax, name)()), tmp_path / "out.onnx"
    layer = {"single": "second", "steps": "convs.1", "drawing": "down", "looking": "patches"}[name]
    facts = run(f"tests.helpers.flaxnets:{name}", target, Request(input=(3, 16, 16), encoder=layer))
    agree(target, flax.jax.vmap(network), (3, 16, 16))
    along(target, last(target), lambda x: flax.slopes(flax.jax.vmap(network), x))
    if name == "drawing":
        along(target, facts.encoder, lambda x: flax.slopes(flax.jax.vmap(network.down), x))


def test_weights_of_flax_come_from_safetensors(flax: Any, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from onnxspace_converters.jax_networks import named_arrays

    network = flax.plain(seed=9)
    kept = {name.removesuffix(".value"): np.asarray(value) for name, value in named_arrays(flax.nnx.state(network)).items()}
    save_file(kept, tmp_path / "own.safetensors")
    facts = run(
        "tests.helpers.flaxnets:plain", tmp_path / "out.onnx", Request(input=SHAPE, weights=str(tmp_path / "own.safetensors"))
    )
    network.eval()
    agree(tmp_path / "out.onnx", network)
    assert facts.remarks == ()


SKLEARN = ["network", "logistic", "ridge", "two_classes", "decisions", "regression", "discriminant"]


@pytest.mark.parametrize("name", SKLEARN)
def test_pipelines_of_scikit_learn_give_its_outputs(name: str, tmp_path: Path) -> None:
    from onnxspace_converters.from_sklearn import _run_pipeline, pipeline_steps

    made, target = getattr(sklearnnets, name)(), tmp_path / "out.onnx"
    run(f"tests.helpers.sklearnnets:{name}", target, Request(input=sklearnnets.SHAPE))
    agree(target, lambda x: _run_pipeline(made, list(pipeline_steps(made)), x), sklearnnets.SHAPE)
    assert {node.domain for node in onnx.load(target).graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize("name", ["network", "ridge", "two_classes", "regression", "discriminant"])
def test_maps_of_scikit_learn_follow_its_slopes(name: str, tmp_path: Path) -> None:
    made, target = getattr(sklearnnets, name)(), tmp_path / "out.onnx"
    facts = run(f"tests.helpers.sklearnnets:{name}", target, Request(input=sklearnnets.SHAPE))
    assert facts.remarks == ()
    along(target, facts.encoder, lambda x: sklearnnets.slopes(made, x))


@pytest.mark.parametrize("name", ["logistic", "decisions"])
def test_scores_whose_sum_no_image_changes_are_remarked_on(name: str, tmp_path: Path) -> None:
    """As the least squares and the penalised likelihood have it: the weights of all classes add up to nothing."""
    coefficients = getattr(sklearnnets, name)()[-1].coef_
    assert np.linalg.norm(coefficients.sum(0)) < 1e-12 * np.linalg.norm(coefficients)
    facts = run(f"tests.helpers.sklearnnets:{name}", tmp_path / "out.onnx", Request(input=sklearnnets.SHAPE))
    assert any("have the same sum for every image" in remark for remark in facts.remarks)


def test_a_trusted_pickle_of_scikit_learn_is_read(tmp_path: Path) -> None:
    import joblib

    path = tmp_path / "net.joblib"
    joblib.dump(sklearnnets.ridge(), path)
    facts = run(str(path), tmp_path / "out.onnx", Request(input=sklearnnets.SHAPE, allow_pickle=str(path)))
    assert facts.framework == "scikit-learn"
    assert len(facts.source_sha256 or "") == 64


def sources(keras: Any, flax: Any, folder: Path) -> list[str]:
    """One network with one set of weights, as PyTorch, Keras, TFLite (float and int8) and Flax have it; and two others."""
    network = torchnets.plain()
    program = torch.export.export(
        network, (torch.randn(2, *torchnets.SHAPE),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, folder / "one.pt2")
    twin = keras.twin({name: value.numpy() for name, value in network.state_dict().items()})
    twin.save(folder / "two.keras")
    keras.lite(twin, folder / "three.tflite")
    keras.lite(twin, folder / "four.tflite", whole=True)
    keras.grouped().save(folder / "other.keras")
    said = '[models."tests.helpers.flaxnets:{name}"]\nsize = [16, 16]\n'
    (folder / "onnxspace.toml").write_text("".join(said.format(name=name) for name in ("like_torch", "attending")))
    files = [str(folder / name) for name in ("one.pt2", "two.keras", "three.tflite", "four.tflite", "other.keras")]
    return [*files, "tests.helpers.flaxnets:like_torch", "tests.helpers.flaxnets:attending"]


def test_a_zoo_of_all_frameworks_is_scored_in_one_command(
    keras: Any, flax: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONNXSPACE_CACHE", str(tmp_path / "cache"))
    zoo = sources(keras, flax, tmp_path)
    arguments = [
        "score",
        *zoo,
        "--config",
        str(tmp_path / "onnxspace.toml"),
        "--json",
        "--images",
        "16",
        "--pixels",
        "symmetric",
    ]
    capsys.readouterr()  # what TensorFlow said while it made the files
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    found = json.loads(said.out)
    matrix = np.asarray(found["affinity"])
    same = [0, 1, 2, 5]  # PyTorch, Keras, TFLite, Flax
    assert matrix[np.ix_(same, same)].min() >= 0.999
    assert matrix[3, same].min() >= 0.9  # int8
    assert matrix[np.ix_(same, [4, 6])].max() < 0.9
    far = matrix[:, [4, 6]]
    assert all(np.array_equal(np.argsort(far[k]), np.argsort(far[0])) for k in same)
    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("source", "request_", "words"),
    [
        ("tests.helpers.kerasnets:two_inputs", Request(), "has 2 inputs, but must have one image"),
        ("tests.helpers.kerasnets:unsized", Request(), "does not state the size of its images. Give it as --input"),
        ("tests.helpers.kerasnets:plain", Request(input=(16, 16, 1)), "can't take images of 16×16×1"),
        ("tests.helpers.kerasnets:plain", Request(encoder="neck"), "there is no layer 'neck'; there are image, conv"),
        ("tests.helpers.kerasnets:plain", Request(opset=20), "can't be exported at opset 20. Give --opset from 11 to 18"),
        ("tests.helpers.flaxnets:plain", Request(), "does not state the size of its images. Give it as --input"),
        ("tests.helpers.flaxnets:bare", Request(input=SHAPE), "returns a network without weights. Return it as module.bind"),
        ("tests.helpers.flaxnets:plain", Request(input=(16, 16, 1)), "can't take images of 16×16×1"),
        (
            "tests.helpers.sklearnnets:forest",
            Request(input=SHAPE),
            "RandomForestClassifier, which is not known to have a gradient",
        ),
        ("tests.helpers.sklearnnets:unfitted", Request(input=SHAPE), "has not been fitted"),
        ("tests.helpers.sklearnnets:ridge", Request(), "does not state the size of its images"),
        ("tests.helpers.sklearnnets:ridge", Request(input=(16, 16, 1)), "takes 768 values, but an image of 16×16×1 has 256"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(source: str, request_: Request, words: str, tmp_path: Path) -> None:
    with pytest.raises((ModelError, ConfigError), match=words):
        run(source, tmp_path / "out.onnx", request_)
    assert not (tmp_path / "out.onnx").exists()
