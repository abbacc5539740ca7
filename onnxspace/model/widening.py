"""One precision for all computations: half and double precision become float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_T = onnx.TensorProto
_WIDENED = {_T.FLOAT16, _T.BFLOAT16, _T.DOUBLE}


def widen(model: onnx.ModelProto, weights: dict[str, NDArray[Any]]) -> None:
    """Convert half and double precision in `model`, and in the `weights` that it only declares, to float32, in place."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in _WIDENED:
            value.type.tensor_type.elem_type = _T.FLOAT
    for tensor in model.graph.initializer:
        if tensor.name in weights and tensor.data_type in _WIDENED:
            weights[tensor.name] = weights[tensor.name].astype(np.float32)
            tensor.data_type = _T.FLOAT
        _widen_tensor(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and node.op_type == "Cast" and attribute.i in _WIDENED:
                attribute.i = _T.FLOAT
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _WIDENED:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
