"""Rewrite what tf2onnx lacks in TFLite files by operators that it has: sparse weights, and MediaPipe's own operators.

A custom operator whose meaning nobody has published is refused by name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError
from onnxspace_converters.tflite_pooling import POOL, UNPOOL, PoolRewriting
from onnxspace_converters.tflite_schema import add_buffer, add_tensor, number_of, operator_code, place_of

_CUSTOM, _DENSIFY, _ADD, _TRANSPOSE_CONV = 32, 124, 0, 67  # numbers of operators in TensorFlow's schema
#: Custom operators that LiteRT and tf2onnx have themselves.
_KNOWN = frozenset({"TFLite_Detection_PostProcess"})
#: MediaPipe's: the input, filters [1, height, width, channels] or [outputs, …], a bias; padding and strides as in TransposeConv.
_TRANSPOSE_BIAS = "Convolution2DTransposeBias"
#: `kTfLitePaddingSame` and `kTfLitePaddingValid` of LiteRT's parameters as the schema numbers them.
_PADDINGS: Mapping[int, int] = {1: 0, 2: 1}


def replace_custom(content: bytes, path: Path) -> bytes:
    """The file with MediaPipe's transposed convolutions and poolings with places as TensorFlow's operators; `content` where it has none.

    Raises ModelError for other custom operators, and for a damaged file.
    """
    return _rewrite(content, path, _CUSTOM, _replace_all)


def write_out_sparse(content: bytes, dense: Callable[[int], NDArray[Any]], path: Path) -> bytes:
    """The file with sparse weights written out and without DENSIFY; `content` itself where it has none.

    `dense` gives the values of the tensor of this number. Raises ModelError for a damaged file.
    """
    return _rewrite(content, path, _DENSIFY, lambda model, path: _densify(model, dense))


def _rewrite(content: bytes, path: Path, operator: int, change: Callable[[Any, Path], None]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    try:
        found = schema.Model.GetRootAsModel(content, 0)
        codes = (found.OperatorCodes(i) for i in range(found.OperatorCodesLength()))
        if all(operator != max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes):
            return content
        model = schema.ModelT.InitFromObj(found)
        change(model, path)
        builder = flatbuffers.Builder(len(content))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
    except ModelError:
        raise
    except Exception as error:  # the reader has no checks of its own
        raise ModelError(f"{path} is damaged ({type(error).__name__}). Convert or copy it again.") from error


def _replace_all(model: Any, path: Path) -> None:
    for graph in model.subgraphs:
        pools = PoolRewriting(model, graph, path)
        for operator in list(graph.operators):
            name = _custom_name(model, operator)
            if name == _TRANSPOSE_BIAS:
                _replace_transpose(model, graph, operator)
            elif name == POOL:
                pools.replace_pool(operator)
            elif name == UNPOOL:
                pools.replace_unpool(operator)
            elif name is not None and name not in _KNOWN:
                raise ModelError(
                    f"{path} has the custom operator {name[:80]!r}, whose meaning is not published, so that it can't be converted. "
                    "Leave it out, or convert the network again without it."
                )


def _custom_name(model: Any, operator: Any) -> str | None:
    if number_of(model, operator) != _CUSTOM:
        return None
    code = model.operatorCodes[operator.opcodeIndex]
    return bytes(code.customCode or b"").decode("utf-8", "replace")


def _replace_transpose(model: Any, graph: Any, operator: Any) -> None:
    """Replace an operator by TRANSPOSE_CONV and the addition of its bias."""
    from ai_edge_litert import schema_py_generated as schema

    padding, width, height = struct.unpack("<3i", bytes(operator.customOptions)[:12])
    source, weights, bias = (int(index) for index in operator.inputs)
    (target,) = (int(index) for index in operator.outputs)
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideW, options.strideH = _PADDINGS[padding], width, height
    size = add_tensor(model, graph, np.asarray(graph.tensors[target].shape, np.int32))
    between = add_tensor(model, graph, None, like=graph.tensors[target])
    added = schema.OperatorT()
    added.opcodeIndex, added.inputs, added.outputs = operator_code(model, _ADD), [between, bias], [target]
    added.builtinOptionsType, added.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph.operators.insert(place_of(graph, operator) + 1, added)
    operator.opcodeIndex = operator_code(model, _TRANSPOSE_CONV)
    operator.inputs, operator.outputs = [size, weights, source], [between]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.TransposeConvOptions, options
    operator.customOptions = None


def _densify(model: Any, dense: Callable[[int], NDArray[Any]]) -> None:
    """Store what each DENSIFY of the main graph gives, and remove it."""
    graph = model.subgraphs[0]
    for operator in list(graph.operators):
        if number_of(model, operator) != _DENSIFY:
            continue
        (source,), (target,) = operator.inputs, operator.outputs
        graph.tensors[target].buffer = add_buffer(model, dense(int(target)))
        # tf2onnx reads tensors that nothing uses, too.
        graph.tensors[source].buffer, graph.tensors[source].sparsity = graph.tensors[target].buffer, None
        graph.operators.remove(operator)
