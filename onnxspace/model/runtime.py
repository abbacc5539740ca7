"""ONNX Runtime as the reference implementation: models in memory, on the CPU, without custom-operator libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Timer
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.errors import MissingLibraryError
from onnxspace.model.network import Network, embed_weights, with_weights_as_inputs
from onnxspace.model.old_opsets import raise_opset
from onnxspace.model.shapes import count_elements, infer_shapes, multiply_adds, refuse_large_tensors

#: The most time for which a graph is run to learn the sizes of its tensors. The encoder depends on them, so it is more than a large
#: network takes on a busy machine; what never ends is stopped by it.
SIZING_SECONDS = 60.0
_SMALL_WORK = 2**27  # multiply-adds and values that the reference implementation computes in seconds
_QUIET = 4  # fatal messages only: all other errors are raised as exceptions

#: onnxruntime and onnxruntime-gpu write the same folder: where one of the two is removed, files of the other are lost.
_BROKEN = (
    "ONNX Runtime is installed in part only: the packages onnxruntime and onnxruntime-gpu overwrite each other. "
    "Install one of them anew: pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu"
)


class Runner:
    """One loaded model: an ONNX Runtime session, on the CPU unless `providers` says otherwise, and the weights that are fed to it.

    Called with a mapping of input names to arrays, it returns the list of outputs; it stops at the next node after `seconds`. Without `optimise`, ONNX Runtime executes
    the graph node by node and reads the weights without copying them; `frugal` returns memory after each run. A graph of an opset that the runtime lacks is written in a newer one. Raises ONNX Runtime's own errors.
    """

    def __init__(
        self, model: onnx.ModelProto | Network, *, optimise: bool = False, frugal: bool = False,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
    ) -> None:  # fmt: skip
        network = raise_opset(as_network(model))
        self.input = network.proto.graph.input[0].name if network.proto.graph.input else ""
        self.weights = {} if optimise else network.weights
        options = make_session_options(optimise=optimise)
        options.enable_cpu_mem_arena = optimise and not frugal
        if optimise:
            _add_weights(options, network.weights)
        proto = network.proto if optimise else with_weights_as_inputs(network.proto)
        self.session = import_onnxruntime().InferenceSession(proto.SerializeToString(), options, providers=list(providers))

    def __call__(self, feeds: Mapping[str, NDArray[Any]], seconds: float | None = None) -> list[NDArray[Any]]:
        given = {**self.weights, **feeds}
        if seconds is None:
            return list(self.session.run(None, given))
        options = import_onnxruntime().RunOptions()
        options.log_severity_level = _QUIET
        timer = Timer(seconds, setattr, (options, "terminate", True))
        timer.start()
        try:
            return list(self.session.run(None, given, options))
        finally:
            timer.cancel()


def import_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry and log switched off; returns the module. Raises MissingLibraryError."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library loads
    import onnxruntime

    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingLibraryError(_BROKEN, name="onnxruntime")
    onnxruntime.set_default_logger_severity(_QUIET)
    return onnxruntime


def make_session_options(*, optimise: bool) -> Any:
    """Return options of a session that prints nothing and whose idle threads soon sleep, so that it is not slow on a busy machine.

    It has as many threads as `OMP_NUM_THREADS` says, or else as the runtime chooses.
    """
    library = import_onnxruntime()
    options = library.SessionOptions()
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    stated = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(stated) if stated.isdecimal() and len(stated) < 5 else 0
    if not optimise:
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = False  # it takes twice the memory, and pays only for a graph that is run many times
        options.enable_mem_pattern = False  # from the second run on, it holds all activations in one block
    return options


def _add_weights(options: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Give weights to a session that optimises the graph, and copies them."""
    values = [import_onnxruntime().OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)


def as_network(model: onnx.ModelProto | Network) -> Network:
    """Return a model as a network; weights inside a message stay there."""
    return model if isinstance(model, Network) else Network(model)


def input_dtype(model: onnx.ModelProto | Network) -> np.dtype[Any]:
    """NumPy type of the model's first input."""
    kind = as_network(model).proto.graph.input[0].type.tensor_type.elem_type
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))


def run(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]], *, optimise: bool = False) -> list[NDArray[Any]]:
    """Run a model on `feeds`, arrays by input name, optimised or not; returns its outputs in order.

    Raises ONNX Runtime's own errors.
    """
    return Runner(model, optimise=optimise)(feeds)


def run_reference(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a model on `feeds` by the ONNX reference implementation in NumPy; returns its outputs in order."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(embed_weights(as_network(model))).run(None, dict(feeds)))


def evaluate(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a model on `feeds` by ONNX Runtime, or by the ONNX reference implementation where the runtime can't run it.

    The reference, which is slow, runs small graphs only. Returns the outputs in order. Raises ONNX Runtime's own error where
    neither can run it.
    """
    try:
        return run(model, feeds)
    except Exception:  # ONNX Runtime's errors share no base class
        for other in (_run_optimised, run_small_reference):
            with suppress(Exception):  # the first error is the one to report
                return other(model, feeds)
        raise


def run_small_reference(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a model by the reference implementation; raises ValueError where that would take long."""
    network = as_network(model)
    shapes = infer_shapes(
        network.proto, {name: np.shape(value) for name, value in feeds.items() if isinstance(value, np.ndarray)}
    )
    work = sum(multiply_adds(network.graph, shapes).values()) + sum(count_elements(shape) or 0 for shape, _ in shapes.values())
    if work > _SMALL_WORK:
        raise ValueError("the reference implementation would take too long")
    return run_reference(network, feeds)


def _run_optimised(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return run(model, feeds, optimise=True)


def run_each(
    model: onnx.ModelProto | Network, images: NDArray[np.float32], *, optimise: bool = False, at_once: int = 1
) -> list[NDArray[Any]]:
    """Run a model on each of `images` (float32 [images, …]) on its own, which is correct for any batch size of the graph.

    A graph that takes another number of images and no other gets so many `at_once`, of which `images` must hold a multiple.

    Returns the outputs, concatenated along the first axis. Raises ONNX Runtime's own errors.
    """
    runner = Runner(model, optimise=optimise)
    cast = images.astype(input_dtype(model))
    rows = [runner({runner.input: cast[i : i + at_once]}) for i in range(0, len(cast), at_once)]
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in zip(*rows, strict=True)]


def shapes_of(network: Network, tensors: Sequence[str], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of `tensors` for an input of `shape`, by running the graph once on zeros, for some seconds at most.

    Raises ModelError for a graph with a tensor that is too large, and ONNX Runtime's own errors.
    """
    name = network.proto.graph.input[0].name
    refuse_large_tensors(network.proto, {name: shape}, "the graph")
    feed = {name: np.zeros(shape, input_dtype(network))}
    try:
        found = [tuple(map(int, sizes)) for sizes in Runner(_measure_outputs(network, tensors))(feed, SIZING_SECONDS)]
    except Exception:  # one of them is no tensor
        found = [np.shape(value) for value in Runner(network.with_outputs(tensors))(feed, SIZING_SECONDS)]
    return dict(zip(tensors, found, strict=True))


def _measure_outputs(network: Network, tensors: Sequence[str]) -> Network:
    """The network with the shapes of `tensors` as its outputs, so that the tensors are not all in memory at the end."""
    names = [f"shape of {name}" for name in tensors]
    measured = network.with_outputs(names)
    measured.proto.graph.node.extend(
        onnx.helper.make_node("Shape", [tensor], [name]) for tensor, name in zip(tensors, names, strict=True)
    )
    return measured
