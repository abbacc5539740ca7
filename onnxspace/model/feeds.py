"""Random values for all inputs of a graph, by which two forms of it are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.graph import Graph
from onnxspace.model.image_input import dims
from onnxspace.model.shapes import Shape

#: Sizes that are tried for open axes: of the first axis, and of all others.
_TRIALS = ((2, 224), (2, 32), (1, 224), (1, 32), (2, 8), (1, 4), (2, 2), (1, 1))


def generate_feeds(graph: Graph, shapes: Mapping[str, Shape]) -> Iterator[dict[str, NDArray[Any]]]:
    """Generate random inputs by name, one set for each trial size of the open axes; `shapes` are those declared, by name."""
    for seed, (first, other) in enumerate(_TRIALS):
        rng = np.random.default_rng(seed)
        yield {v.name: _draw_value(rng, v.type, shapes.get(v.name, ()), first, other) for v in graph.inputs}


def _close_shape(shape: Shape, first: int, other: int) -> tuple[int, ...]:
    return tuple(n if n is not None else first if axis == 0 else other for axis, n in enumerate(shape))


def _draw_value(rng: np.random.Generator, kind: onnx.TypeProto, shape: Shape, first: int, other: int) -> Any:
    """Draw a random value of a declared type: a sequence has three elements, an optional value is present."""
    if kind.HasField("optional_type"):
        return _draw_value(rng, kind.optional_type.elem_type, (), first, other)
    if kind.HasField("sequence_type"):
        return [_draw_value(rng, kind.sequence_type.elem_type, (), first, other) for _ in range(3)]
    sizes = shape or tuple(dims(onnx.ValueInfoProto(type=kind)) or ())
    return _draw_tensor(rng, kind.tensor_type.elem_type, _close_shape(sizes, first, other))


def _draw_tensor(rng: np.random.Generator, elem_type: int, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
