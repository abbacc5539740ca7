"""Parts of TFLite files as LiteRT's schema has them: operators, tensors and buffers are added to a model's tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLOAT32, _INT32 = 0, 2


def number_of(model: Any, operator: Any) -> int:
    """The number of an operator, which older files have in another field."""
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def place_of(graph: Any, operator: Any) -> int:
    """The place of an operator in its graph."""
    return next(place for place, each in enumerate(graph.operators) if each is operator)


def operator_code(model: Any, operator: int) -> int:
    """The number of an operator in the table of operators, to which it is added."""
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_tensor(
    model: Any, graph: Any, values: NDArray[np.int32] | NDArray[np.float32] | None, like: Any = None, shape: Any = None,
    kind: int | None = None,
) -> int:  # fmt: skip
    """Add a stored tensor, or a computed one with type and shape of another, or those given; returns its number."""
    from ai_edge_litert import schema_py_generated as schema

    made, count = schema.TensorT(), len(graph.tensors)
    made.name = f"onnxspace_{count}".encode()
    if values is None:
        made.type = like.type if kind is None else kind
        made.shape, made.buffer = like.shape if shape is None else shape, 0
    else:
        made.type = _INT32 if values.dtype == np.int32 else _FLOAT32
        made.shape, made.buffer = list(values.shape), add_buffer(model, values)
    graph.tensors.append(made)
    return count


def add_buffer(model: Any, values: NDArray[Any]) -> int:
    """Store an array; returns the number of its buffer."""
    from ai_edge_litert import schema_py_generated as schema

    made = schema.BufferT()
    made.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(made)
    return len(model.buffers) - 1
