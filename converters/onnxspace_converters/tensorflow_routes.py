"""Freeze TensorFlow graphs, run them, and convert them with tf2onnx.

They are frozen first because tf2onnx's own entry points (`from_keras`, the command line) fail on more networks and are slower.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from onnxspace_converters.loaded_network import Array, Route

PACKAGES = ("tensorflow", "tensorflow-cpu", "tf2onnx", "onnx")
#: Opsets that tf2onnx supports; at 18 it leaves transposes that it removes at 17.
OPSETS, BEST = range(11, 19), 17
_OTHER = "_plain"
_SETTINGS = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}


def configure_tensorflow() -> None:
    """Set the variables that TensorFlow reads when it is imported: CPU only, reproducible sums, no log output."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def freeze(function: Any) -> Any:
    """Freeze a concrete function: its variables become constants, and called functions are inlined."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def unmark_compiled_calls(graph: Any) -> Any:
    """Turn calls marked for the XLA compiler into plain calls, in place, so that they can be inlined.

    Keras marks grouped convolutions so; TensorFlow does not inline such calls, and tf2onnx does not support them.
    """
    marks = ("_XlaMustCompile", "_noinline", "_XlaHasReferenceVars")
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        for mark in marks:
            node.attr.pop(mark, None)
        for value in node.attr.values():
            if value.HasField("func"):
                value.func.name += _OTHER
    for function in graph.library.function:
        for mark in marks:
            function.attr.pop(mark, None)
        function.signature.name += _OTHER  # TensorFlow would reuse the compiled function of this name
    return graph


def frozen_graph_route(name: str, traced: Callable[[bool], Any]) -> Route:
    """The route through a frozen graph. `traced` returns a concrete function, with an open batch or for one image."""
    from onnxspace_converters.loaded_network import Route

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        import tf2onnx

        from onnxspace_converters.tflite_route import add_operators

        add_operators()
        function = freeze_inlined(traced(dynamic))
        made: tuple[onnx.ModelProto, Any] = tf2onnx.convert.from_graph_def(
            function.graph.as_graph_def(), opset=opset, input_names=[tensor.name for tensor in function.inputs],
            output_names=[tensor.name for tensor in function.outputs],
        )  # fmt: skip
        return made[0]

    return Route(name, export, OPSETS, BEST)


def freeze_inlined(function: Any) -> Any:
    """Freeze a concrete function, and inline calls of other functions."""
    import tensorflow as tf

    made = freeze(function)
    graph = made.graph.as_graph_def()
    if not any(node.op in ("PartitionedCall", "StatefulPartitionedCall") for node in graph.node):
        return made
    graph = unmark_compiled_calls(graph)
    outputs = [tensor.name for tensor in made.outputs]
    return freeze(import_graph(graph, [tensor.name for tensor in made.inputs], outputs, tf))


def import_graph(graph: Any, inputs: Sequence[str], outputs: Sequence[str], tf: Any) -> Any:
    """Import a graph definition as a function from tensors `inputs` to `outputs`, given by name."""
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    element = wrapped.graph.as_graph_element
    return wrapped.prune([element(name) for name in inputs], [element(name) for name in outputs])


def as_array_function(function: Any) -> Callable[[Array], list[Array]]:
    """Wrap a concrete function as one of arrays, which returns all outputs in order."""
    import tensorflow as tf

    return lambda images: [np.asarray(found) for found in tf.nest.flatten(function(tf.constant(images)))]


def intermediate_outputs(function: Any) -> Callable[[Array], Iterator[tuple[str, Array]]]:
    """A function that yields the outputs of a frozen function's nodes, in order."""

    def layers(images: Array) -> Iterator[tuple[str, Array]]:
        import tensorflow as tf

        graph = function.graph.as_graph_def()
        outputs = {tensor.name: tensor for op in function.graph.get_operations() for tensor in op.outputs}
        wanted = {
            name: t for name, t in outputs.items() if t.dtype == tf.float32 and t.op.inputs and t.shape.rank not in (None, 0, 1)
        }
        found = import_graph(graph, [function.inputs[0].name], list(wanted), tf)(tf.constant(images))
        for name, value in zip(wanted, found, strict=True):
            yield name.removesuffix(":0"), np.asarray(value)

    return layers
