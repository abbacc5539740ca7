"""Sparse tensors of untrusted files: checked, and stored initialisers written out as dense ones, which all other code reads.

A file may name a place twice, and runtimes differ in what they make of that. The standard wants places in ascending order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxspace.errors import ModelError
from onnxspace.model.graph import iter_nodes, subgraphs_of

MAX_ELEMENTS = 2**28  # of a sparse tensor written out: 1 GiB of single-precision numbers


def write_out_sparse(path: str | Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with dense initialisers and constants in place of sparse ones; one without them is returned as it is.

    `path` names the model in errors. Raises ModelError for a sparse tensor that names a place twice, out of order or outside of
    its shape, or is too large to be written out.
    """
    if not any(graph.sparse_initializer or any(_constants(graph)) for graph in _iter_graphs(model.graph)):
        return model
    dense = onnx.ModelProto()
    dense.CopyFrom(model)
    for graph in _iter_graphs(dense.graph):
        graph.initializer.extend(_to_dense(path, sparse) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
        for attribute in _constants(graph):
            value = _to_dense(path, attribute.sparse_tensor)
            attribute.CopyFrom(onnx.helper.make_attribute("value", value))
    return dense


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.AttributeProto]:
    """The sparse tensors of a graph's own nodes: only Constant has one."""
    for node in graph.node:
        yield from (attribute for attribute in node.attribute if attribute.HasField("sparse_tensor"))


def _iter_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in iter_nodes(graph):
        for attribute in node.attribute:
            yield from subgraphs_of(attribute)


def _to_dense(path: str | Path, sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    places, values = _read_places(path, sparse), numpy_helper.to_array(sparse.values)
    full = np.zeros(math.prod(sparse.dims), values.dtype)
    full[places] = values
    return numpy_helper.from_array(full.reshape(tuple(sparse.dims)), sparse.values.name)


def _read_places(path: str | Path, sparse: onnx.SparseTensorProto) -> NDArray[np.int64]:
    """The places of a sparse tensor's values, counted along all axes."""
    name, shape = sparse.values.name, tuple(sparse.dims)
    if not shape or min(shape) < 0 or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            f"{path}: the sparse tensor {name!r} has more than {MAX_ELEMENTS:,} elements, or no shape. Store it densely."
        )
    places = _flatten(numpy_helper.to_array(sparse.indices), shape)
    count = math.prod(sparse.values.dims)
    if places is None or len(places) != count or (np.diff(places) <= 0).any():
        raise ModelError(
            f"{path}: the sparse tensor {name!r} names a place twice, out of order or outside of its shape. Export the model again."
        )
    return places


def _flatten(indices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Linear indices, or coordinates turned into them; None where they are neither, or lie outside of the shape."""
    if indices.dtype != np.int64:
        return None
    if indices.ndim == 2 and indices.shape[1] == len(shape):
        if ((indices < 0) | (indices >= np.asarray(shape))).any():
            return None
        return np.asarray(np.ravel_multi_index(tuple(indices.T), shape), np.int64)
    inside = indices.ndim == 1 and ((indices >= 0) & (indices < math.prod(shape))).all()
    return np.asarray(indices) if inside else None
