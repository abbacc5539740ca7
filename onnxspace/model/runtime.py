"""ONNX Runtime as the reference: in-memory models only, on a CPU, without custom-operator libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.network import Network, whole, with_weights_as_inputs

_QUIET = 4  # fatal messages only: everything else comes back as an exception


class Runner:
    """One model, loaded: a session on the CPU, and the weights that it is fed with.

    Not optimised, it follows the graph node by node, and reads weights where they lie. Raises ONNX Runtime's own errors.
    """

    def __init__(self, model: onnx.ModelProto | Network, *, optimise: bool = False) -> None:
        network = as_network(model)
        self.input = network.proto.graph.input[0].name if network.proto.graph.input else ""
        self.weights = {} if optimise else network.weights
        options = _options(optimise=optimise)
        if optimise:
            _give(options, network.weights)
        proto = network.proto if optimise else with_weights_as_inputs(network.proto)
        self.session = quiet_library().InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return list(self.session.run(None, {**self.weights, **feeds}))


def quiet_library() -> Any:
    """ONNX Runtime, without its telemetry and its log."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library loads
    import onnxruntime

    onnxruntime.set_default_logger_severity(_QUIET)
    return onnxruntime


def _options(*, optimise: bool) -> Any:
    library = quiet_library()
    options = library.SessionOptions()
    options.log_severity_level = _QUIET
    if not optimise:
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _give(options: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Hand weights to a session that is to optimise them: it makes copies of its own."""
    values = [quiet_library().OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)


def as_network(model: onnx.ModelProto | Network) -> Network:
    """A model as it is, its weights left where they are."""
    return model if isinstance(model, Network) else Network(model)


def input_dtype(model: onnx.ModelProto | Network) -> np.dtype[Any]:
    """NumPy type of the model's only input."""
    kind = as_network(model).proto.graph.input[0].type.tensor_type.elem_type
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))


def run(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]], *, optimise: bool = False) -> list[NDArray[Any]]:
    """Outputs of a model for `feeds`."""
    return Runner(model, optimise=optimise)(feeds)


def reference(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs by the standard's own reference implementation in NumPy."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(whole(as_network(model))).run(None, dict(feeds)))


def evaluate(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs by ONNX Runtime, or by the standard's own reference implementation where the runtime can't run the model.

    Raises what ONNX Runtime raises where neither can.
    """
    try:
        return run(model, feeds)
    except Exception:  # ONNX Runtime has a family of errors of its own, without a common base
        for other in (_optimised, reference):
            with suppress(Exception):  # they fail in ways of their own; the first words are the better ones
                return other(model, feeds)
        raise


def _optimised(model: onnx.ModelProto | Network, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return run(model, feeds, optimise=True)


def run_each(model: onnx.ModelProto | Network, images: NDArray[np.float32], *, optimise: bool = False) -> list[NDArray[Any]]:
    """Outputs for each image on its own, stacked along the first axis: right whatever batch the graph was made for."""
    runner = Runner(model, optimise=optimise)
    cast = images.astype(input_dtype(model))
    rows = [runner({runner.input: cast[i : i + 1]}) for i in range(len(cast))]
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in zip(*rows, strict=True)]


def shapes_of(network: Network, tensors: Sequence[str], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Actual shapes of `tensors` for one input of `shape`, by running the graph once on zeros."""
    zeros = np.zeros(shape, input_dtype(network))
    found = run(network.with_outputs(tensors), {network.proto.graph.input[0].name: zeros})
    return {name: np.shape(value) for name, value in zip(tensors, found, strict=True)}
