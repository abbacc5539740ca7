"""A whole ONNX model as a Torch graph, whatever its inputs, checked on random input."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.errors import ConversionError, ModelError
from onnxspace.model import runtime
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model
from onnxspace.model.network import Network, light
from onnxspace.model.reader import read_model
from onnxspace.model.shapes import Shape
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.passes.canonicalise import fuse
from onnxspace.torchgraph.verify import COARSE, difference, tolerance
from onnxspace.torchgraph.verify_nodes import every_node_agrees, first_departure

#: Sizes that are tried for open axes: the first axis, and all others.
_TRIALS = ((2, 224), (2, 32), (1, 224), (1, 32), (2, 8), (1, 4), (2, 2), (1, 1))


def to_torch(model: Model | onnx.ModelProto | str | Path, inputs: Sequence[Any] | None = None) -> torch.fx.GraphModule:
    """A model, file or ModelProto as a `torch.fx.GraphModule`: evaluation mode, frozen parameters, single precision.

    Called with the graph's inputs in order; returns a tensor, or a tuple in output order. A batch fixed at one is opened
    where the graph allows it. The result is compared with ONNX Runtime on `inputs`, NumPy arrays in the graph's order, or
    on random values, which make no sense where an input is a size or a position. Raises UnsupportedOperatorError naming
    the operator and its node, ConversionError where the two differ, ModelError where the model can't be run.
    """
    network, path = _source(model)
    bridge.refuse_unknown(network.proto, path)
    graph = network.graph
    _refuse_strings(graph, path)
    shapes = {v.name: tuple(sizes) for v in graph.inputs if (sizes := dims(v)) is not None}
    made = _batchable(network, shapes, path) if _fixed_at_one(shapes, graph) else None
    if made is None:
        feeds = _feeds(graph, shapes) if inputs is None else iter([_named(graph, inputs, path)])
        made = _checked(network, normalise(network, shapes), path, feeds)
    return _unshared(made, network) if isinstance(model, Model) else made


def _unshared(graph: torch.fx.GraphModule, network: Network) -> torch.fx.GraphModule:
    """The graph with copies of those weights that it shares with a model: whoever asked for it may train it."""
    held = {values.ctypes.data for values in network.weights.values()}
    for module in graph.modules():
        for name, tensor in module.named_buffers(recurse=False):
            if tensor.data_ptr() in held:
                setattr(module, name, tensor.clone())
    return graph


def _named(graph: Graph, inputs: Sequence[Any], path: str) -> dict[str, Any]:
    names = [value.name for value in graph.inputs]
    if len(names) != len(inputs):
        raise ModelError(f"{path} takes {len(names)} input(s) ({', '.join(names)}), and {len(inputs)} were given.")
    return dict(zip(names, inputs, strict=True))


def _source(model: Model | onnx.ModelProto | str | Path) -> tuple[Network, str]:
    if isinstance(model, Model):
        return model.network, model.path
    if isinstance(model, onnx.ModelProto):
        inlined = onnx.inliner.inline_local_functions(model) if model.functions else model
        return light(inlined), model.graph.name or "the model"
    return read_model(model)[0], str(model)


def _refuse_strings(graph: Graph, path: str) -> None:
    for value in graph.inputs:
        kind = value.type
        while kind.HasField("optional_type") or kind.HasField("sequence_type"):
            kind = (kind.optional_type if kind.HasField("optional_type") else kind.sequence_type).elem_type
        if kind.tensor_type.elem_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
            raise ModelError(f"{path}: its input {value.name!r} is of strings or of no known type. Leave the model out.")


def _fixed_at_one(shapes: dict[str, Shape], graph: Graph) -> bool:
    return len(graph.inputs) == 1 and [shape[:1] for shape in shapes.values()] == [(1,)]


def _batchable(network: Network, shapes: dict[str, Shape], path: str) -> torch.fx.GraphModule | None:
    """The graph with its batch opened, if two images at once give what ONNX Runtime gives one by one."""
    (name,) = shapes
    if None in shapes[name]:
        return None
    made = fuse(build(normalise(network, shapes, batched=name), path))
    single = [feed for feed, _ in zip(_feeds(network.graph, shapes), range(2), strict=False)]
    try:
        rows = [_expected(network, feed, path) for feed in single]
        expected = [np.concatenate(column) for column in zip(*rows, strict=True)]
        both = torch.from_numpy(np.concatenate([feed[name] for feed in single]))
        found = [output.numpy() for output in _run(made, [both])]
        if difference(found, expected) <= tolerance(network.proto):
            return made
    except Exception:  # not batchable, or not at all: the plain way finds out which
        pass
    del made
    gc.collect()  # a graph and its module hold each other, and the merged weights with them
    return None


def _feeds(graph: Graph, shapes: dict[str, Shape]) -> Iterator[dict[str, NDArray[Any]]]:
    """Random inputs, for each trial size of the open axes; one trial after another where all axes are fixed."""
    for seed, (first, other) in enumerate(_TRIALS):
        rng = np.random.default_rng(seed)
        yield {v.name: _random(rng, v.type, shapes.get(v.name, ()), first, other) for v in graph.inputs}


def _closed(shape: Shape, first: int, other: int) -> tuple[int, ...]:
    return tuple(n if n is not None else first if axis == 0 else other for axis, n in enumerate(shape))


def _random(rng: np.random.Generator, kind: onnx.TypeProto, shape: Shape, first: int, other: int) -> Any:
    """A random value of a declared type: a sequence has three elements, an optional value is there."""
    if kind.HasField("optional_type"):
        return _random(rng, kind.optional_type.elem_type, (), first, other)
    if kind.HasField("sequence_type"):
        return [_random(rng, kind.sequence_type.elem_type, (), first, other) for _ in range(3)]
    sizes = shape or tuple(dims(onnx.ValueInfoProto(type=kind)) or ())
    return _random_tensor(rng, kind.tensor_type.elem_type, _closed(sizes, first, other))


def _random_tensor(rng: np.random.Generator, elem_type: int, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _expected(network: Network, feed: dict[str, NDArray[Any]], path: str) -> list[NDArray[Any]]:
    try:
        return runtime.evaluate(network, feed)
    except Exception as error:
        raise ModelError(
            f"{path} can't be run by ONNX Runtime on this input ({error}). Give to_torch examples of its inputs."
        ) from error


def _run(graph: torch.fx.GraphModule, inputs: list[Any]) -> list[Any]:
    with torch.no_grad():
        found = graph(*inputs)
    return list(found) if isinstance(found, tuple) else [found]


def arrays(values: list[Any]) -> list[NDArray[Any]]:
    """Outputs as arrays: a sequence as its length and its elements, an optional value that is missing as -1."""
    found: list[NDArray[Any]] = []
    for value in values:
        if value is None:
            found.append(np.asarray(-1))
        elif isinstance(value, list):
            found += [np.asarray(len(value)), *arrays(value)]
        else:
            found.append(value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value))
    return found


def _checked(network: Network, normal: Network, path: str, feeds: Iterator[dict[str, NDArray[Any]]]) -> torch.fx.GraphModule:
    """Build the graph and compare it on the first trial input that ONNX Runtime accepts."""
    made = fuse(build(normal, path))
    refused: ModelError | None = None
    for feed in feeds:
        try:
            expected = _expected(network, feed, path)
        except ModelError as error:
            refused = error
            continue
        _compare(network, made, feed, expected, path)
        return made
    raise refused or ModelError(f"{path} can't be checked.")


def _compare(
    network: Network, made: torch.fx.GraphModule, feed: dict[str, NDArray[Any]], expected: list[Any], path: str
) -> None:
    try:
        found = arrays(_run(made, [as_input(value) for value in feed.values()]))
    except Exception as error:
        raise ConversionError(f"{path}: the converted graph fails ({type(error).__name__}: {error}).") from error
    allowed = tolerance(network.proto)
    gap = difference(found, arrays(expected))
    if gap <= allowed:
        return
    normal = normalise(network, {name: np.shape(value) for name, value in feed.items()})
    if gap > COARSE or not every_node_agrees(network, normal, feed, allowed):
        where = first_departure(network, normal, feed, allowed) if gap < float("inf") else None
        first = f", first at {where}" if where else ""
        raise ConversionError(f"{path}: the converted graph departs from ONNX Runtime (relative difference {gap:.2g}{first}).")


def as_tensor(value: NDArray[Any]) -> torch.Tensor:
    """An input as converted graphs take it: floating point, and what Torch has no type for, in single precision.

    Raises ModelError where a number in double precision is beyond that.
    """
    if value.dtype.kind not in "fV":
        return torch.from_numpy(value)
    with np.errstate(over="ignore"):  # told below
        single = np.asarray(value, dtype=np.float32)
    if value.dtype == np.float64 and not np.array_equal(np.isinf(single), np.isinf(value)):
        raise ModelError("numbers beyond single precision can't be computed with.")
    return torch.from_numpy(single)


def as_input(value: Any) -> Any:
    """An input of any kind: a tensor, a list of them for a sequence, or None."""
    if isinstance(value, list):
        return [as_input(item) for item in value]
    return None if value is None else as_tensor(np.asarray(value))
