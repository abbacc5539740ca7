"""TensorFlow: SavedModel folders and frozen graphs (`.pb`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source

if TYPE_CHECKING:
    from onnxspace_converters.loaded_network import LoadedNetwork

_SAVED = "saved_model.pb"
_SIGNATURE = "serving_default"
_MAX = 2**31 - 1


def accepts(source: Source) -> bool:
    """Whether this is a SavedModel folder, or a `.pb` file."""
    path = source.path
    return not source.is_callable and (path.suffix.lower() == ".pb" or (path / _SAVED).is_file())


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a TensorFlow graph. Raises ModelError and its subclasses."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load the network of a source. Raises ModelError."""
    from onnxspace_converters.files import hash_files
    from onnxspace_converters.keras_applications import preprocessing_of
    from onnxspace_converters.loaded_network import LoadedNetwork
    from onnxspace_converters.tensorflow_routes import (
        PACKAGES,
        as_array_function,
        configure_tensorflow,
        freeze,
        frozen_graph_route,
        intermediate_outputs,
    )

    configure_tensorflow()
    import tensorflow as tf

    path = source.path.parent if source.path.name == _SAVED else source.path
    function = _load_saved_model(path, request, tf) if path.is_dir() else freeze(_load_frozen_graph(path, request, tf))
    image = _image_input(function, source, tf)
    shape = _image_shape(image, source, request)
    batch = image.shape[0]
    if batch not in (1, None):
        raise ModelError(f"{source.text} takes batches of {batch} only. Save it again with one image, or with an open batch.")
    return LoadedNetwork(
        "TensorFlow", PACKAGES, shape, as_array_function(function), [frozen_graph_route("frozen graph", lambda dynamic: function)],
        preprocessing_of(None, shape),
        layers=intermediate_outputs(function), batch=batch, dtype=image.dtype.as_numpy_dtype().dtype, sha256=hash_files([path]),
    )  # fmt: skip


def _load_saved_model(folder: Path, request: Request, tf: Any) -> Any:
    """The serving function of a SavedModel, frozen, since its variables would be freed with the loaded object."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    from onnxspace_converters.files import describe_error
    from onnxspace_converters.tensorflow_files import check_saved_model, list_operators
    from onnxspace_converters.tensorflow_routes import freeze

    stored = SavedModel()
    try:
        stored.ParseFromString(_read_bytes(folder / _SAVED))
        for meta in stored.meta_graphs if not request.allow_code else ():
            check_saved_model(meta, folder, list_operators())
        network = tf.saved_model.load(str(folder))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{folder} can't be read as a SavedModel ({describe_error(error)}). Save or copy it again.") from error
    if not network.signatures:
        raise ModelError(f"{folder} has no signature to call. Save it with one, for example with model.export(FOLDER).")
    names = list(network.signatures)
    return freeze(network.signatures[_SIGNATURE if _SIGNATURE in names else names[0]])


def _load_frozen_graph(path: Path, request: Request, tf: Any) -> Any:
    """A frozen graph as a function of its one placeholder."""
    from onnxspace_converters.files import describe_error, require_file
    from onnxspace_converters.tensorflow_files import check_graph, list_operators
    from onnxspace_converters.tensorflow_routes import import_graph

    require_file(path, "")
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(_read_bytes(path))
    except Exception as error:
        raise ModelError(
            f"{path} is not a TensorFlow graph, or is damaged ({describe_error(error)}). Freeze or copy it again."
        ) from error
    if not request.allow_code:
        check_graph(graph, path, list_operators())
    images = [f"{node.name}:0" for node in graph.node if node.op == "Placeholder"]
    read = {name.lstrip("^").partition(":")[0] for node in graph.node for name in node.input}
    last = [
        f"{node.name}:0" for node in graph.node if node.name not in read and node.op not in ("Const", "NoOp", "Placeholder")
    ]
    if len(images) != 1 or not last:
        raise ModelError(
            f"{path} has {len(images)} inputs and {len(last)} outputs, but must have one image as input. Freeze it again."
        )
    variables = [node.name for node in graph.node if node.op in ("VariableV2", "VarHandleOp", "Variable")]
    if variables:
        raise ModelError(f"{path} has variables without values, such as {variables[0]}. Freeze it with its checkpoint.")
    try:
        return import_graph(graph, images, last, tf)
    except Exception as error:
        raise ModelError(
            f"{path} can't be read as a TensorFlow graph ({describe_error(error)}). Freeze or copy it again."
        ) from error


def _read_bytes(path: Path) -> bytes:
    if path.stat().st_size > _MAX:
        raise ModelError(f"{path} is larger than a graph can be (2 GiB). Save it again.")
    return path.read_bytes()


def _image_input(function: Any, source: Source, tf: Any) -> Any:
    images = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
    if len(images) != 1 or images[0].shape.rank != 4:
        raise ModelError(f"{source.text} must have one batch of images as its only input. Save it again so.")
    return images[0]


def _image_shape(image: Any, source: Source, request: Request) -> tuple[int, ...]:
    own = tuple(image.shape[1:])
    if request.input is not None:
        return request.input
    if None in own:
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 224x224x3.")
    return own


TENSORFLOW = Exporter(
    "tensorflow", accepts, export, "TensorFlow (SavedModel folders, frozen .pb)", ("tensorflow", "tf2onnx"),
    "pip install 'onnxspace[tensorflow]'",
)  # fmt: skip
