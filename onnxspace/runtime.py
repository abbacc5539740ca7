"""ONNX Runtime as the reference: in-memory models only, on a CPU, without custom-operator libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_QUIET = 4  # fatal messages only: everything else comes back as an exception


def session(proto: onnx.ModelProto, *, optimise: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU. Raises ONNX Runtime's own errors on an invalid graph."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library loads
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnxruntime.set_default_logger_severity(_QUIET)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def input_dtype(proto: onnx.ModelProto) -> np.dtype[Any]:
    """NumPy type of the model's only input."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.graph.input[0].type.tensor_type.elem_type))


def run(proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]], *, optimise: bool = True) -> list[NDArray[Any]]:
    """Outputs of a model for `feeds`."""
    return list(session(proto, optimise=optimise).run(None, dict(feeds)))


def reference(proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs by the standard's own reference implementation in NumPy."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(proto).run(None, dict(feeds)))


def evaluate(proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]], *, optimise: bool = True) -> list[NDArray[Any]]:
    """Outputs by ONNX Runtime, or by the standard's own reference implementation where the runtime can't run the model.

    Raises what ONNX Runtime raises where neither can.
    """
    try:
        return run(proto, feeds, optimise=optimise)
    except Exception:  # ONNX Runtime has a family of errors of its own, without a common base
        try:
            return reference(proto, feeds)
        except Exception:  # the reference fails in ways of its own; the runtime's words are the better ones
            pass
        raise


def run_each(proto: onnx.ModelProto, images: NDArray[np.float32], *, optimise: bool = True) -> list[NDArray[Any]]:
    """Outputs for each image on its own, stacked along the first axis: right whatever batch the graph was made for."""
    runner, name = session(proto, optimise=optimise), proto.graph.input[0].name
    cast = images.astype(input_dtype(proto))
    rows = [runner.run(None, {name: cast[i : i + 1]}) for i in range(len(cast))]
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in zip(*rows, strict=True)]


def shapes_of(proto: onnx.ModelProto, tensors: Sequence[str], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Actual shapes of `tensors` for one input of `shape`, by running the graph once on zeros."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    found = run(probe, {proto.graph.input[0].name: np.zeros(shape, input_dtype(proto))})
    return {name: np.shape(value) for name, value in zip(tensors, found, strict=True)}
