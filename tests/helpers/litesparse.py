"""TFLite files with sparse weights, and with MediaPipe's own operators, made from plain ones by LiteRT's own schema."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

_CONV, _TRANSPOSE_CONV, _ADD, _CUSTOM, _DENSIFY, _MAX_POOL, _BILINEAR = 3, 67, 0, 32, 124, 17, 23


def _changed(content: bytes, change: Callable[[Any, Any], None]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    change(model, schema)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(model: Any, schema: Any, operator: int, custom: str | None = None) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version, code.customCode = 1, custom
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _operators(model: Any, number: int) -> list[Any]:
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return [operator for operator in model.subgraphs[0].operators if codes[operator.opcodeIndex] == number]


def with_sparse_weights(content: bytes) -> bytes:
    """The first convolution's weights as a sparse tensor without its zeros, which DENSIFY writes out."""

    def change(model: Any, schema: Any) -> None:
        graph = model.subgraphs[0]
        conv = _operators(model, _CONV)[0]
        weights = graph.tensors[int(conv.inputs[1])]
        values = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.float32).reshape(weights.shape)
        sparse = schema.TensorT()
        sparse.name, sparse.type, sparse.shape, sparse.buffer = b"sparse", weights.type, weights.shape, len(model.buffers)
        sparse.sparsity = _sparsity(values, schema)
        held = schema.BufferT()
        held.data = np.frombuffer(values[values != 0].tobytes(), np.uint8)
        model.buffers.append(held)
        graph.tensors.append(sparse)
        weights.buffer = 0
        made = schema.OperatorT()
        made.opcodeIndex = _code(model, schema, _DENSIFY)
        made.inputs, made.outputs = [len(graph.tensors) - 1], [int(conv.inputs[1])]
        made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.DensifyOptions, schema.DensifyOptionsT()
        graph.operators.insert(0, made)

    return _changed(content, change)


def _sparsity(values: np.ndarray[Any, Any], schema: Any) -> Any:
    """All axes dense but the last, whose places are stored row by row."""
    found = schema.SparsityParametersT()
    found.traversalOrder = list(range(values.ndim))
    found.dimMetadata = []
    for size in values.shape[:-1]:
        axis = schema.DimensionMetadataT()
        axis.format, axis.denseSize = schema.DimensionType.DENSE, int(size)
        found.dimMetadata.append(axis)
    rows = values.reshape(-1, values.shape[-1]) != 0
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType = last.arrayIndicesType = schema.SparseIndexVector.Int32Vector
    last.arraySegments, last.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    last.arraySegments.values = np.concatenate([[0], np.cumsum(rows.sum(axis=1))]).astype(np.int32)
    last.arrayIndices.values = np.nonzero(rows)[1].astype(np.int32)
    found.dimMetadata.append(last)
    return found


def with_custom_transpose(content: bytes, bias: np.ndarray[Any, Any], name: str = "Convolution2DTransposeBias") -> bytes:
    """The first TRANSPOSE_CONV as MediaPipe's operator with a bias, or as another custom operator."""

    def change(model: Any, schema: Any) -> None:
        graph = model.subgraphs[0]
        (operator, *_) = _operators(model, _TRANSPOSE_CONV)
        options = operator.builtinOptions
        added, held = schema.TensorT(), schema.BufferT()
        held.data = np.frombuffer(bias.astype(np.float32).tobytes(), np.uint8)
        added.name, added.type, added.shape, added.buffer = b"bias", 0, [len(bias)], len(model.buffers)
        model.buffers.append(held)
        graph.tensors.append(added)
        graph.tensors[int(operator.outputs[0])].shape = bytes_to_shape(model, graph, int(operator.inputs[0]))
        operator.inputs = [int(operator.inputs[2]), int(operator.inputs[1]), len(graph.tensors) - 1]
        operator.opcodeIndex = _code(model, schema, _CUSTOM, name)
        operator.customOptions = list(struct.pack("<3i", options.padding + 1, options.strideW, options.strideH))
        operator.builtinOptionsType, operator.builtinOptions = 0, None

    return _changed(content, change)


def bytes_to_shape(model: Any, graph: Any, index: int) -> list[int]:
    """The sizes that a stored tensor of whole numbers holds."""
    return list(map(int, np.frombuffer(bytes(model.buffers[graph.tensors[index].buffer].data), np.int32)))


def with_places(content: bytes, window: tuple[int, ...] = (2, 2, 2, 2, 2, 0)) -> bytes:
    """MAX_POOL_2D and RESIZE_BILINEAR as MediaPipe's pooling with places and its inverse: the last pool with the first inverse.

    `window` is padding, strides, sides and activation of both, as LiteRT numbers them.
    """

    def change(model: Any, schema: Any) -> None:
        graph, places = model.subgraphs[0], list[int]()
        for operator in graph.operators:
            number = max(
                model.operatorCodes[operator.opcodeIndex].builtinCode,
                model.operatorCodes[operator.opcodeIndex].deprecatedBuiltinCode,
            )
            if number == _MAX_POOL:
                added = schema.TensorT()
                added.name, added.type, added.shape, added.buffer = (
                    f"places{len(places)}".encode(),
                    0,
                    graph.tensors[int(operator.outputs[0])].shape,
                    0,
                )
                graph.tensors.append(added)
                places.append(len(graph.tensors) - 1)
                operator.outputs = [int(operator.outputs[0]), places[-1]]
                _make_custom(model, schema, operator, "MaxPoolingWithArgmax2D", window)
            elif number == _BILINEAR:
                operator.inputs = [int(operator.inputs[0]), places.pop()]
                _make_custom(model, schema, operator, "MaxUnpooling2D", window)

        assert not places, "a pooling has no inverse"

    return _changed(content, change)


def _make_custom(model: Any, schema: Any, operator: Any, name: str, numbers: tuple[int, ...]) -> None:
    operator.opcodeIndex = _code(model, schema, _CUSTOM, name)
    operator.customOptions = list(struct.pack(f"<{len(numbers)}i", *numbers) + bytes(16))
    operator.builtinOptionsType, operator.builtinOptions = 0, None
