"""What TensorFlow's files may and may not bring: code, damage, batches of their own, and whole numbers of other widths."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters import Request, run
from onnxspace.model import runtime

pytestmark = pytest.mark.frameworks


@pytest.fixture
def keras() -> Any:
    from tests.helpers import kerasnets  # TensorFlow takes seconds, and other tests must not need it

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
    with pytest.raises(
        ModelError, match=r"contains the Lambda layer 'twice', which is code. If you trust it, add --allow-code"
    ):
        run(str(path), tmp_path / "out.onnx", Request())
    assert run(str(path), tmp_path / "out.onnx", Request(allow_code=True)).framework == "Keras"


def test_a_graph_that_calls_python_is_refused(keras: Any, tmp_path: Path) -> None:
    tf = keras.tf
    call = tf.function(lambda image: tf.numpy_function(np.abs, [image], tf.float32)).get_concrete_function(
        tf.TensorSpec((None, 16, 16, 3))
    )
    (tmp_path / "net.pb").write_bytes(call.graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelError, match=r"not converted, and can access files or run code \(PyFunc\). .* add --allow-code"):
        run(str(tmp_path / "net.pb"), tmp_path / "out.onnx", Request())


def printing(tf: Any, marker: Path) -> Any:
    tf.print("x", output_stream=f"file://{marker}")
    return 0.0


def writing(tf: Any, marker: Path) -> Any:
    tf.io.write_file(str(marker), "x")
    return 0.0


def saving(tf: Any, marker: Path) -> Any:
    tf.raw_ops.Save(filename=str(marker), tensor_names=["x"], data=[tf.zeros(1)])
    return 0.0


def saving_again(tf: Any, marker: Path) -> Any:
    tf.raw_ops.SaveV2(prefix=str(marker), tensor_names=["x"], shape_and_slices=[""], tensors=[tf.zeros(1)])
    return 0.0


def reading(tf: Any, marker: Path) -> Any:
    return tf.strings.to_number(tf.io.read_file(str(marker)))


def merging(tf: Any, marker: Path) -> Any:
    """Deletes the files that it merges, and writes another one."""
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(marker)], destination_prefix=str(marker))
    return 0.0


def debugging(tf: Any, marker: Path) -> Any:
    return tf.reduce_sum(tf.raw_ops.DebugIdentityV2(input=tf.zeros(1), debug_urls=[f"file://{marker}"]))


PAYLOADS = {
    "PrintV2": printing, "WriteFile": writing, "Save": saving, "SaveV2": saving_again, "ReadFile": reading,
    "MergeV2Checkpoints": merging, "DebugIdentityV2": debugging,
}  # fmt: skip


def saved_module(tf: Any, folder: Path, payload: Callable[[], Any], *, when: str) -> Path:
    """A SavedModel whose payload runs when it is called, when it is initialised, or behind a condition."""

    class Table(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc,name-defined]
        """A resource of the model, which loading initialises."""

        def _create_resource(self) -> Any:
            return tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self) -> None:
            payload()

    class Network(tf.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.kernel = tf.Variable(tf.ones((3, 3, 3, 2)))
            self.table = Table() if when == "loaded" else None

        @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)])  # type: ignore[untyped-decorator]
        def __call__(self, image: Any) -> Any:
            found = tf.nn.conv2d(image, self.kernel, 1, "SAME")
            if when == "called":
                found = found + payload()
            if when == "nested":
                found = tf.cond(tf.reduce_sum(image) > -1e9, lambda: found + payload(), lambda: found)
            return found

    network = Network()
    tf.saved_model.save(network, str(folder), signatures=network.__call__)
    return folder


@pytest.mark.parametrize("when", ["called", "nested"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_saved_model_that_touches_files_is_refused(name: str, when: str, keras: Any, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    saved_module(keras.tf, tmp_path / "net", lambda: PAYLOADS[name](keras.tf, marker), when=when)
    with pytest.raises(ModelError, match=rf"net has operators .*can access files or run code \({name}\b.*add --allow-code"):
        run(str(tmp_path / "net"), tmp_path / "out.onnx", Request())
    assert not marker.exists()


@pytest.mark.parametrize("name", ["PrintV2", "WriteFile"])
def test_what_loading_runs_is_refused(name: str, keras: Any, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    saved_module(keras.tf, tmp_path / "net", lambda: PAYLOADS[name](keras.tf, marker), when="loaded")
    with pytest.raises(ModelError, match=rf"\({name}\b.*add --allow-code"):
        run(str(tmp_path / "net"), tmp_path / "out.onnx", Request())
    assert not list(tmp_path.glob("marker*"))
    with suppress(ModelError):  # the table is not converted; what matters is that it would have run
        run(str(tmp_path / "net"), tmp_path / "out.onnx", Request(allow_code=True))
    assert list(tmp_path.glob("marker*"))


def test_a_saved_model_of_the_first_version_is_checked_where_it_is_run(keras: Any, tmp_path: Path) -> None:
    v1 = keras.tf.compat.v1
    for name, harmful in (("plain", False), ("harmful", True)):
        with v1.Graph().as_default(), v1.Session() as session:
            image = v1.placeholder(keras.tf.float32, (None, 16, 16, 3))
            kernel = v1.get_variable("kernel", (3, 3, 3, 2))
            found = keras.tf.nn.conv2d(image, kernel, 1, "SAME")
            session.run(v1.global_variables_initializer())
            start = v1.raw_ops.WriteFile(filename=str(tmp_path / "marker"), contents="x") if harmful else None
            builder = v1.saved_model.Builder(str(tmp_path / name))
            signature = v1.saved_model.predict_signature_def({"image": image}, {"found": found})
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=start)
            builder.save()
    assert run(str(tmp_path / "plain"), tmp_path / "out.onnx", Request()).framework == "TensorFlow"
    with pytest.raises(ModelError, match=r"\(WriteFile\).*add --allow-code"):
        run(str(tmp_path / "harmful"), tmp_path / "out.onnx", Request())
    assert not (tmp_path / "marker").exists()


def linked(path: Path, other: Path) -> None:
    """Replace a weight by a link to another file."""
    import h5py

    with h5py.File(path, "a") as file:
        group = file.get("model_weights", file)
        group["stolen"] = h5py.ExternalLink(str(other), "/x")


def stored_outside(path: Path, other: Path) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        file.create_dataset("stolen", (4,), "u1", external=[(str(other), 0, 4)])


@pytest.mark.parametrize("change", [linked, stored_outside])
def test_weights_of_keras_lie_in_their_file(change: Callable[[Path, Path], None], keras: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"1234")
    keras.plain().save(tmp_path / "net.h5")
    change(tmp_path / "net.h5", tmp_path / "secret")
    with pytest.raises(ModelError, match=r"net.h5 keeps weights outside its file \('stolen'"):
        run(str(tmp_path / "net.h5"), tmp_path / "out.onnx", Request())
    inner = tmp_path / "model.weights.h5"
    keras.plain().save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        inner.write_bytes(archive.read("model.weights.h5"))
        rest = {name: archive.read(name) for name in archive.namelist() if name != "model.weights.h5"}
    change(inner, tmp_path / "secret")
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        for name, content in {**rest, "model.weights.h5": inner.read_bytes()}.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match=r"net.keras keeps weights outside its file \('stolen'"):
        run(str(tmp_path / "net.keras"), tmp_path / "out.onnx", Request())


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
        (damaged_h5, "is not an HDF5 file, or is damaged|can't be read as a Keras network"),
        (weights_alone, "contains weights only, and no network. Give it as --weights"),
        (damaged_graph, "is not a TensorFlow graph, or is damaged"),
        (damaged_saved, "can't be read as a SavedModel"),
        (damaged_lite, "can't be read as a TFLite file|is damaged"),
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


def of_size(keras: Any, folder: Path) -> tuple[str, Request]:
    return str(keras.lite(keras.plain(), folder / "net.tflite")), Request(input=(32, 32, 3))


def saved_of_size(keras: Any, folder: Path) -> tuple[str, Request]:
    keras.plain().export(folder / "net", verbose=False)
    return str(folder / "net"), Request(input=(16, 16, 1))


def unsigned(keras: Any, folder: Path) -> tuple[str, Request]:
    keras.tf.saved_model.save(keras.tf.Module(), str(folder / "net"))
    return str(folder / "net"), Request()


def graph_of(keras: Any, folder: Path, build: Callable[[Any], object]) -> tuple[str, Request]:
    """A graph as TensorFlow 1 wrote it."""
    v1 = keras.tf.compat.v1
    with v1.Graph().as_default() as graph:
        build(v1)
    (folder / "net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return str(folder / "net.pb"), Request()


def two_placeholders(keras: Any, folder: Path) -> tuple[str, Request]:
    shape = (None, 16, 16, 3)
    return graph_of(keras, folder, lambda v1: v1.placeholder("float32", shape) + v1.placeholder("float32", shape))


def unfrozen(keras: Any, folder: Path) -> tuple[str, Request]:
    def build(v1: Any) -> object:
        return v1.placeholder("float32", (None, 16, 16, 3)) * v1.get_variable("scale", shape=(3,), use_resource=False)

    return graph_of(keras, folder, build)


def one_row(keras: Any, folder: Path) -> tuple[str, Request]:
    return graph_of(keras, folder, lambda v1: v1.placeholder("float32", (None, 16)) * 2.0)


def lite_of_rows(keras: Any, folder: Path) -> tuple[str, Request]:
    row = keras.keras.Input((16,))
    return str(keras.lite(keras.keras.Model(row, keras.layers.Dense(4)(row)), folder / "net.tflite")), Request()


def other_weights(keras: Any, folder: Path) -> tuple[str, Request]:
    keras.heads().save_weights(folder / "w.weights.h5")
    return "tests.helpers.kerasnets:plain", Request(weights=str(folder / "w.weights.h5"))


def flax_weights(_keras: Any, folder: Path) -> tuple[str, Request]:
    from safetensors.numpy import save_file

    save_file({"conv.bias": np.zeros(6, np.float32)}, folder / "w.safetensors")
    return "tests.helpers.flaxnets:plain", Request(input=(16, 16, 3), weights=str(folder / "w.safetensors"))


def more_flax_weights(_keras: Any, folder: Path) -> tuple[str, Request]:
    from safetensors.numpy import save_file

    from onnxspace_converters.jax_networks import named_arrays
    from tests.helpers import flaxnets

    kept = {
        name.removesuffix(".value"): np.asarray(value)
        for name, value in named_arrays(flaxnets.nnx.state(flaxnets.plain())).items()
    }
    save_file({**kept, "tail.bias": np.zeros(1, np.float32)}, folder / "w.safetensors")
    return "tests.helpers.flaxnets:plain", Request(input=(16, 16, 3), weights=str(folder / "w.safetensors"))


def damaged_flax_weights(_keras: Any, folder: Path) -> tuple[str, Request]:
    (folder / "w.safetensors").write_bytes(b"\xff" * 64)
    return "tests.helpers.flaxnets:plain", Request(input=(16, 16, 3), weights=str(folder / "w.safetensors"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (of_size, r"takes images of 16×16×3, not of 32×32×3\. Leave out --input"),
        (saved_of_size, r"can't take images of 16×16×1 .*Give its size as --input"),
        (unsigned, r"has no signature to call\. Save it with one, for example with model\.export"),
        (two_placeholders, r"has 2 inputs and 1 outputs, but must have one image as input\. Freeze it again"),
        (unfrozen, r"has variables without values, such as scale.*\. Freeze it with its checkpoint"),
        (one_row, r"must have one batch of images as its only input\. Save it again so"),
        (lite_of_rows, r"takes 1×16, but must take one batch of images\. Convert it again so"),
        (other_weights, r"does not fit tests\.helpers\.kerasnets:plain .*Give the weights of this network"),
        (flax_weights, r"The weights do not fit tests\.helpers\.flaxnets:plain: conv\.kernel is missing or has another shape"),
        (more_flax_weights, r"The weights do not fit tests\.helpers\.flaxnets:plain: the network has no tail\.bias"),
        (damaged_flax_weights, r"can't be read as safetensors .*Save the arrays so, with their dotted names"),
    ],
)
def test_sizes_inputs_and_weights_that_do_not_fit_are_refused(
    make: Callable[[Any, Path], tuple[str, Request]], words: str, keras: Any, tmp_path: Path
) -> None:
    source, request = make(keras, tmp_path)
    with pytest.raises((ModelError, ConfigError), match=words):
        run(source, tmp_path / "out.onnx", request)
    assert not (tmp_path / "out.onnx").exists()
