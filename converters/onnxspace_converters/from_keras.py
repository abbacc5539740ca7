"""Keras: `.keras` and `.h5` files, and callables that build a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source

if TYPE_CHECKING:
    import onnx

    from onnxspace_converters.loaded_network import Array, LoadedNetwork, Route

_SUFFIXES = frozenset({".keras", ".h5", ".hdf5"})


def accepts(source: Source) -> bool:
    """Whether this is a file with a suffix of Keras."""
    return source.path.suffix.lower() in _SUFFIXES and not source.is_callable


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a Keras network. Raises ModelError and its subclasses."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load the network of a source. Raises ModelError."""
    from onnxspace_converters.files import hash_files

    files = [] if source.made is not None else [source.path]
    model = _read_model(source, request)
    if request.weights is not None:
        files.append(_load_weights(model, Path(request.weights), source))
    kept = not files and request.random_weights is None
    remarks = ("its weights are those that its code set",) if kept else ()
    return network_from_model(model, source, request, hash_files(files) if files else None, remarks)


def network_from_model(
    model: Any, source: Source, request: Request, digest: str | None, remarks: tuple[str, ...]
) -> LoadedNetwork:
    """A Keras model, ready to run and to be exported. Raises ModelError where the size of its images is unknown."""
    import keras

    from onnxspace_converters.keras_applications import mode_of, preprocessing_of

    shape = _image_shape(model, source, request)
    mode = mode_of(model)
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"{source.text} uses the backend {keras.backend.backend()}. Set KERAS_BACKEND=tensorflow, and convert it again."
        )
    from onnxspace_converters.loaded_network import LoadedNetwork
    from onnxspace_converters.tensorflow_routes import PACKAGES, frozen_graph_route

    return LoadedNetwork(
        "Keras", ("keras", *PACKAGES), shape, _forward_function(model, shape),
        [
            frozen_graph_route("frozen graph", lambda dynamic: _trace_for_export(model, shape, None if dynamic else 1)),
            _keras_route(model, shape), _tflite_route(model, shape),
        ],
        preprocessing_of(mode, shape), layers=_layer_function(model), sha256=digest, remarks=remarks,
        outputs=_output_names(model),
    )  # fmt: skip


def _read_model(source: Source, request: Request) -> Any:
    from onnxspace_converters.files import describe_error
    from onnxspace_converters.keras_files import check_layers, check_weights, unknown_layer_advice
    from onnxspace_converters.pickle_guard import forbid_pickle
    from onnxspace_converters.tensorflow_routes import configure_tensorflow

    if source.made is not None:
        return source.made
    check_layers(source.path, allow_code=request.allow_code)
    check_weights(source.path)
    configure_tensorflow()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    try:
        with nullcontext() if request.allow_code else forbid_pickle():
            return keras.saving.load_model(source.path, compile=False, safe_mode=not request.allow_code)
    except TypeError as error:  # Keras raises it for unknown classes, with a very long message
        raise ModelError(
            f"{source.text} has a layer that Keras does not know ({describe_error(error)}). {unknown_layer_advice(source.path)}"
        ) from error
    except Exception as error:
        raise ModelError(
            f"{source.text} can't be read as a Keras network ({describe_error(error)}). Save or copy it again."
        ) from error


def _load_weights(model: Any, path: Path, source: Source) -> Path:
    from onnxspace_converters.files import describe_error, require_file
    from onnxspace_converters.keras_files import check_weights
    from onnxspace_converters.pickle_guard import forbid_pickle

    require_file(path, "--weights")
    check_weights(path)
    try:
        with forbid_pickle():
            model.load_weights(path)
    except Exception as error:
        raise ModelError(
            f"{path} does not fit {source.text} ({describe_error(error)}). Give the weights of this network."
        ) from error
    return path


def _image_shape(model: Any, source: Source, request: Request) -> tuple[int, ...]:
    inputs = getattr(model, "inputs", None)
    if inputs is not None and len(inputs) != 1:
        raise ModelError(f"{source.text} has {len(inputs)} inputs, but must have one image. Build a network with one of them.")
    own = tuple(inputs[0].shape[1:]) if inputs else ()
    if request.input is not None:
        return request.input
    if len(own) != 3 or None in own:
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 224x224x3.")
    return own


def _forward_function(model: Any, shape: tuple[int, ...]) -> Callable[[Array], list[Array]]:
    """The network as a function of arrays; it is traced at the first call, which raises errors of shape."""
    from onnxspace_converters.tensorflow_routes import as_array_function

    traced = cache(lambda: as_array_function(_trace(model, shape, None)))
    return lambda images: traced()(images)


def _trace(model: Any, shape: tuple[int, ...], batch: int | None) -> Any:
    """Trace a concrete function of the network in inference mode, with one named tensor per output."""
    import tensorflow as tf

    def call(image: Any) -> Any:
        return [tf.identity(found) for found in tf.nest.flatten(model(image, training=False))]

    return tf.function(call, autograph=False).get_concrete_function(tf.TensorSpec((batch, *shape), tf.float32, name="image"))


def _trace_for_export(model: Any, shape: tuple[int, ...], batch: int | None) -> Any:
    """Trace the network for an exporter, which does not run it."""
    with _disable_xla():
        return _trace(model, shape, batch)


@contextmanager
def _disable_xla() -> Iterator[None]:
    """Turn off XLA, which exporters can't convert; Keras uses it for grouped convolutions, since TensorFlow lacks them on CPUs."""
    import tensorflow as tf

    before = tf.function

    def plainly(*arguments: Any, **options: Any) -> Any:
        return before(*arguments, **{**options, "jit_compile": None})

    tf.function = plainly
    try:
        yield
    finally:
        tf.function = before


def _layer_function(model: Any) -> Callable[[Array], Iterator[tuple[str, Array]]] | None:
    """A function that yields each layer's output; None for a subclassed model, whose layers are not connected."""
    import numpy as np

    layers = [layer for layer in getattr(model, "layers", ()) if hasattr(layer, "output")]
    if not getattr(model, "inputs", None) or not layers:
        return None

    def run_layers(images: Array) -> Iterator[tuple[str, Array]]:
        import keras

        single = [layer for layer in layers if isinstance(layer.output, keras.KerasTensor)]
        values = keras.Model(model.inputs, [layer.output for layer in single])(images, training=False)
        for layer, value in zip(single, values if isinstance(values, list) else [values], strict=True):
            yield layer.name, np.asarray(value)

    return run_layers


def _output_names(model: Any) -> tuple[str, ...]:
    names = getattr(model, "output_names", None) or ()
    return tuple(names) if len(names) > 1 else ()


def _keras_route(model: Any, shape: tuple[int, ...]) -> Route:
    """The route by Keras's own exporter, which writes a file."""
    from tempfile import TemporaryDirectory

    from onnxspace_converters.loaded_network import Route
    from onnxspace_converters.tensorflow_routes import BEST, OPSETS

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        import keras
        import onnx

        signature = [keras.InputSpec(shape=(None if dynamic else 1, *shape), dtype="float32", name="image")]
        with TemporaryDirectory() as folder:
            path = Path(folder, "exported.onnx")
            model.export(path, format="onnx", verbose=False, input_signature=signature, opset_version=opset)
            return onnx.load(path)

    return Route("Keras' exporter", export, OPSETS, BEST)


def _tflite_route(model: Any, shape: tuple[int, ...]) -> Route:
    """The route through TFLite, for networks that leave calls in the frozen graph."""
    from onnxspace_converters.loaded_network import Route
    from onnxspace_converters.tensorflow_routes import BEST, OPSETS

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        import tensorflow as tf

        from onnxspace_converters.tflite_route import convert_tflite

        function = _trace_for_export(model, shape, None if dynamic else 1)
        return convert_tflite(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert(), opset)

    return Route("through TFLite", export, OPSETS, BEST)


KERAS = Exporter(
    "keras", accepts, export, "Keras (.keras, .h5)", ("tensorflow", "keras", "tf2onnx"), "pip install 'onnxspace[tensorflow]'",
    ("keras",),
)  # fmt: skip
