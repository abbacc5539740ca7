"""Conversion of a whole ONNX model, with any inputs, to a Torch graph that is verified on example or random inputs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.errors import ConversionError, ModelError, OnnxspaceError, unexpected
from onnxspace.model import runtime
from onnxspace.model.feeds import generate_feeds
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.reader import read_model
from onnxspace.model.rewriting import rewrite
from onnxspace.model.rewritten import check_rewritten
from onnxspace.model.shapes import Shape, refuse_large_tensors
from onnxspace.storage.short_text import count
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.canonical import canonicalise_verified
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.numeric_outputs import select_numeric_outputs
from onnxspace.torchgraph.verify import allow_noise, describe_difference, difference, is_within, tolerance


def to_torch(model: Model | onnx.ModelProto | str | Path, inputs: Sequence[Any] | None = None) -> torch.fx.GraphModule:
    """Convert a model to a verified Torch graph, as `onnxspace.to_torch`, which also takes sources of other frameworks.

    `model` is an opened model, a ModelProto, or the path of an `.onnx` file; `inputs` are example inputs, arrays in the order of the
    graph's inputs (None: random ones). Of outputs that are maps from classes to
    numbers it returns the numbers; texts are left out. Raises UnsupportedOperatorError, ConversionError, ModelError.
    """
    path = _name_source(model)
    try:
        return _convert_whole(model, inputs)
    except OnnxspaceError:
        raise
    except Exception as error:  # a defect in a library, or a graph that none of them foresaw
        raise ModelError(f"{unexpected(path, error)} Export it again.") from error


def _convert_whole(model: Model | onnx.ModelProto | str | Path, inputs: Sequence[Any] | None) -> torch.fx.GraphModule:
    network, path = _resolve_source(model)
    bridge.refuse_unknown(network.proto, path)
    graph = network.graph
    _refuse_strings(graph, path)
    shapes = {v.name: tuple(sizes) for v in graph.inputs if (sizes := dims(v)) is not None}
    refuse_large_tensors(network.proto, shapes, path)
    given = None if inputs is None else _name_inputs(graph, inputs, path)
    check_rewritten(network, generate_feeds(graph, shapes) if given is None else iter([given]), path)
    network = select_numeric_outputs(network, path)
    built = _build_batchable(network, shapes, path) if _has_batch_of_one(shapes, graph) else None
    if built is None:
        feeds = generate_feeds(graph, shapes) if given is None else iter([given])
        built = _build_checked(network, normalise(network, shapes), path, feeds)
    return _copy_shared_weights(built, network) if isinstance(model, Model) else built


def _copy_shared_weights(graph: torch.fx.GraphModule, network: Network) -> torch.fx.GraphModule:
    """Replace weights that the graph shares with a model by copies, since the caller may train the graph."""
    held = {values.ctypes.data for values in network.weights.values()}
    for module in graph.modules():
        for name, tensor in module.named_buffers(recurse=False):
            if tensor.data_ptr() in held:
                setattr(module, name, tensor.clone())
    return graph


def _name_inputs(graph: Graph, inputs: Sequence[Any], path: str) -> dict[str, Any]:
    names = [value.name for value in graph.inputs]
    if len(names) != len(inputs):
        raise ModelError(
            f"{path} takes {count(len(names), 'input')} ({', '.join(names)}), not {len(inputs)}. Give one array per input."
        )
    return dict(zip(names, inputs, strict=True))


def _name_source(model: Model | onnx.ModelProto | str | Path) -> str:
    if isinstance(model, Model):
        return model.path
    return (model.graph.name or "the model") if isinstance(model, onnx.ModelProto) else str(model)


def _resolve_source(model: Model | onnx.ModelProto | str | Path) -> tuple[Network, str]:
    if isinstance(model, Model):
        return model.file_network or model.network, model.path
    if isinstance(model, onnx.ModelProto):
        path = model.graph.name or "the model"
        return rewrite(path, model), path
    return read_model(model)[0], str(model)


def _refuse_strings(graph: Graph, path: str) -> None:
    for value in graph.inputs:
        kind = value.type
        while kind.HasField("optional_type") or kind.HasField("sequence_type"):
            kind = (kind.optional_type if kind.HasField("optional_type") else kind.sequence_type).elem_type
        if kind.tensor_type.elem_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
            raise ModelError(f"{path}: its input {value.name!r} holds strings or is of unknown type. Leave the model out.")


def _has_batch_of_one(shapes: dict[str, Shape], graph: Graph) -> bool:
    return len(graph.inputs) == 1 and [shape[:1] for shape in shapes.values()] == [(1,)]


def _build_batchable(network: Network, shapes: dict[str, Shape], path: str) -> torch.fx.GraphModule | None:
    """The graph with its batch axis opened, if a batch of two gives what ONNX Runtime gives one by one; None otherwise."""
    (name,) = shapes
    if None in shapes[name]:
        return None
    normal = normalise(network, shapes, batched=name)
    graph = build(normal, path)
    single = [feed for feed, _ in zip(generate_feeds(network.graph, shapes), range(2), strict=False)]
    try:
        canonicalise_verified(graph, network, normal, single[0], path)
        rows = [_run_reference(network, feed, path) for feed in single]
        expected = [np.concatenate(column) for column in zip(*rows, strict=True)]
        both = torch.from_numpy(np.concatenate([feed[name] for feed in single]))
        found = [output.numpy() for output in _run(graph, [both])]
        if difference(found, expected) <= tolerance(network.proto):
            return graph
    except Exception:  # not batchable, or not convertible at all, which the conversion for a batch of one will show
        pass
    del graph
    gc.collect()  # a graph and its module reference each other, which keeps the folded weights alive
    return None


def _run_reference(network: Network, feed: dict[str, NDArray[Any]], path: str) -> list[NDArray[Any]]:
    try:
        return runtime.evaluate(network, feed)
    except Exception as error:
        raise ModelError(
            f"{path} can't be run by ONNX Runtime on this input ({error}). Give to_torch example inputs."
        ) from error


def _run(graph: torch.fx.GraphModule, inputs: list[Any]) -> list[Any]:
    with torch.no_grad():
        found = graph(*inputs)
    return list(found) if isinstance(found, tuple) else [found]


def to_arrays(values: list[Any]) -> list[NDArray[Any]]:
    """Convert outputs to arrays: a sequence to its length and its elements, a missing optional value to -1."""
    found: list[NDArray[Any]] = []
    for value in values:
        if value is None:
            found.append(np.asarray(-1))
        elif isinstance(value, list):
            found += [np.asarray(len(value)), *to_arrays(value)]
        else:
            found.append(value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value))
    return found


def _build_checked(
    network: Network, normal: Network, path: str, feeds: Iterator[dict[str, NDArray[Any]]]
) -> torch.fx.GraphModule:
    """Build the graph and compare it on the first trial input that ONNX Runtime accepts."""
    graph = build(normal, path)
    refused: ModelError | None = None
    for feed in feeds:
        try:
            expected = _run_reference(network, feed, path)
        except ModelError as error:
            refused = error
            continue
        complete = canonicalise_verified(graph, network, normal, feed, path)
        _compare(network, graph, feed, expected, path, complete=complete)
        return graph
    raise refused or ModelError(f"{path} can't be verified. Give to_torch example inputs.")


def _compare(
    network: Network, graph: torch.fx.GraphModule, feed: dict[str, Any], expected: list[Any], path: str, *, complete: bool
) -> None:
    try:
        found = to_arrays(_run(graph, [as_input(value) for value in feed.values()]))
    except Exception as error:
        raise ConversionError(f"{path}: the converted graph fails ({type(error).__name__}: {error}).") from error
    allowed, arrays = tolerance(network.proto), to_arrays(expected)
    gap = difference(found, arrays)
    if gap <= allowed:
        return
    wide = allow_noise(network, [feed], expected, complete=complete) if len(arrays) == len(expected) else []
    if not is_within(found, arrays, allowed, wide):
        raise ConversionError(f"{path}: the converted graph differs from ONNX Runtime ({describe_difference(gap)}).")


def as_tensor(value: NDArray[Any]) -> torch.Tensor:
    """Convert an input array to a tensor: float32 for floating point and for types that Torch lacks.

    Raises ModelError for float64 values beyond the range of single precision.
    """
    if value.dtype.kind not in "fV":
        return torch.from_numpy(value)
    with np.errstate(over="ignore"):  # raised below
        single = np.asarray(value, dtype=np.float32)
    if value.dtype == np.float64 and not np.array_equal(np.isinf(single), np.isinf(value)):
        raise ModelError("values beyond the range of single precision are not supported.")
    return torch.from_numpy(single)


def as_input(value: Any) -> Any:
    """Convert an input of any kind: an array to a tensor, a sequence to a list of tensors, a missing optional value to None."""
    if isinstance(value, list):
        return [as_input(item) for item in value]
    return None if value is None else as_tensor(np.asarray(value))
