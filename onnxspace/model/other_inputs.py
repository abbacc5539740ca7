"""Inputs besides the image: values that the configuration states, or that their names and shapes tell, stored in the graph."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxspace.errors import ConfigError
from onnxspace.inputs.input_values import read_input_value
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import dims
from onnxspace.model.network import Network

_SIZE = re.compile(r"((orig|original|target|im|img|image|input)_)+(size|sizes|shape|shapes|hw)", re.IGNORECASE)
_SCALE = re.compile(r"((im|img|image)_)?scale_factors?", re.IGNORECASE)
_INFO = re.compile(r"(im|img|image)_infos?", re.IGNORECASE)


def bind_inputs(
    network: Network, image: str, preprocess: Preprocess, stated: Mapping[str, Any], path: str
) -> tuple[Network, tuple[str, ...], str]:
    """Store values of inputs besides `image` in the graph: those `stated`, and where it needs them those that are told by their names.

    A size is height and width of the input of `preprocess`, a scale factor is 1. Returns the network, what was assumed in words,
    and a digest of the stated values, empty where there are none. Raises ConfigError for values that don't fit the file `path`.
    """
    others = {value.name: value for value in network.graph.inputs if value.name != image}
    for name in stated:
        if name not in others:
            raise ConfigError(
                f"{path} has no input {name!r} besides its image (it has: {', '.join(others) or 'none'}). Correct `inputs`."
            )
    values = {name: _fit(others[name], read_input_value(value, path), path) for name, value in stated.items()}
    digest = hashlib.sha256(b"".join(f"{name}{one.shape}".encode() + one.tobytes() for name, one in sorted(values.items())))
    told = _find_defaults(network.graph, image, preprocess, set(stated))
    assumed = tuple(f"{name} = {one.ravel().tolist()}" for name, one in told.items())
    return _store(network, {**values, **told}), assumed, digest.hexdigest()[:32] if values else ""


def _store(network: Network, values: Mapping[str, NDArray[Any]]) -> Network:
    if not values:
        return network
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    kept = [value for value in proto.graph.input if value.name not in values]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in values.items())
    return replace(network, proto=proto, source=None)


def _fit(value: onnx.ValueInfoProto, given: NDArray[Any], path: str) -> NDArray[Any]:
    """A stated value in the type and shape of the input: one number fills it, an axis of images may be left out."""
    if not value.type.HasField("tensor_type") or value.type.tensor_type.elem_type in (0, onnx.TensorProto.STRING):
        raise ConfigError(f"{path}: its input {value.name!r} is no tensor of numbers, for which no value can be stated.")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    sizes = dims(value)
    if sizes is None or (given.shape == () and not sizes):
        return given.astype(dtype)
    closed = tuple(1 if n is None else n for n in sizes)
    shaped = given[None] if given.ndim == len(sizes) - 1 and sizes and sizes[0] in (None, 1) else given
    if given.size == 1:
        return np.full(closed, given.reshape(-1)[0]).astype(dtype)
    if shaped.ndim != len(sizes) or any(n not in (None, m) for n, m in zip(sizes, shaped.shape, strict=True)):
        wanted = "×".join("?" if n is None else str(n) for n in sizes) or "one number"
        raise ConfigError(
            f"{path}: its input {value.name!r} takes {wanted}, not the {'×'.join(map(str, given.shape))} of its configuration. "
            "Correct `inputs`."
        )
    return shaped.astype(dtype)


def _find_defaults(graph: Graph, image: str, preprocess: Preprocess, stated: set[str]) -> dict[str, NDArray[Any]]:
    """The values of inputs that are told by name and shape, where layers or outputs need them."""
    others = [value for value in graph.inputs if value.name != image and value.name not in stated]
    told = {value.name: one for value in others if (one := _find_default(value, preprocess)) is not None}
    return told if told and _are_needed(graph, image, {value.name for value in others}) else {}


def _are_needed(graph: Graph, image: str, others: set[str]) -> bool:
    """Whether trained layers depend on other inputs, or no output does without, and no single tensor stands for the outputs."""
    mixed = {i for name in others for i in graph.descendants_of(name)}
    live = graph.descendants_of(image) - mixed
    if any(graph.is_parametric(i) for i in mixed):
        return True
    if any(graph.producer.get(name) in live for name in graph.outputs):
        return False
    return len({name for i in mixed for name in graph.reads[i] if graph.producer.get(name) in live}) != 1


def _find_default(value: onnx.ValueInfoProto, preprocess: Preprocess) -> NDArray[Any] | None:
    sizes = dims(value)
    if not sizes or len(sizes) > 2 or (len(sizes) == 2 and sizes[0] not in (None, 1)):
        return None
    numbers: list[float] = []
    if _SIZE.fullmatch(value.name) and sizes[-1] == 2:
        numbers = [preprocess.height, preprocess.width]
    elif _INFO.fullmatch(value.name) and sizes[-1] == 3:
        numbers = [preprocess.height, preprocess.width, 1]
    elif _SCALE.fullmatch(value.name) and sizes[-1] in (1, 2, 4):
        numbers = [1] * sizes[-1]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT))
    if not numbers or dtype.kind not in "fiu":
        return None
    return np.asarray(numbers, dtype).reshape([1] * (len(sizes) - 1) + [-1])
