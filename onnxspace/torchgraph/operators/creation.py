"""Stored tensors, and those that are created from a shape or from bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxspace.torchgraph.build import to_tensor
from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter, to_integers, torch_type

_WIDE = (19, 21, 23, 24, 25)  # versions that only added element types


@converter("Shape", 1, 13, 15, *_WIDE)
def shape(node: Node) -> TorchOperator:
    """Shape, or a range of its axes."""
    start, end = node.get("start", 0), node.get("end")
    return Apply(lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device))


@converter("Size", 1, 13, *_WIDE)
def size(_node: Node) -> TorchOperator:
    """Size."""
    return Apply(lambda x: torch.tensor(x.numel(), dtype=torch.int64, device=x.device))


class Constant(nn.Module):
    """A stored value."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self) -> Tensor:
        return self.value


@converter("Constant", 1, 9, 11, 12, 13, *_WIDE)
def constant(node: Node) -> TorchOperator:
    """Constant in all forms except strings."""
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            return Constant(to_tensor(np.asarray(node.get(name), dtype=dtype)))
    if "sparse_value" in node.attributes:
        return Constant(_to_dense(node.get("sparse_value")))
    if "value" not in node.attributes:
        raise NotImplementedError("strings")
    return Constant(to_tensor(node.get("value")))


def _to_dense(sparse: Any) -> Tensor:
    """Convert a sparse tensor, with linear indices or coordinates, to a dense one."""
    from onnx import numpy_helper

    values, where = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    full = np.zeros(tuple(sparse.dims), values.dtype)
    full[tuple(where.T) if where.ndim == 2 else np.unravel_index(where, full.shape)] = values
    return to_tensor(full)


@converter("ConstantOfShape", 9, 20, 21, 23, 24, 25)
def constant_of_shape(node: Node) -> TorchOperator:
    """ConstantOfShape."""
    value = to_tensor(np.asarray(node.get("value", np.zeros(1, np.float32)))).reshape(())
    return Apply(lambda shape: torch.full(to_integers(shape), value.item(), dtype=value.dtype, device=shape.device))


@converter("EyeLike", 9, 22)
def eye_like(node: Node) -> TorchOperator:
    """EyeLike: ones on the k-th diagonal."""
    shift = node.get("k", 0)
    dtype = torch_type(node.get("dtype")) if "dtype" in node.attributes else None

    def eye(x: Tensor) -> Tensor:
        ones = torch.ones(x.shape[0], x.shape[1], device=x.device)
        return ones.tril(shift).triu(shift).to(dtype or x.dtype)

    return Apply(eye)


@converter("Range", 11, 27)
def range_(_node: Node) -> TorchOperator:
    """Range: `start + i · delta` up to, but not including, the limit."""

    def values(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        bounds: list[Any] = [t.detach().reshape(()).item() for t in (start, limit, delta)]
        first, last, step = bounds
        count = max(math.ceil((last - first) / step), 0) if start.is_floating_point() else len(range(first, last, step))
        steps = torch.arange(count, device=start.device).to(start.dtype)
        return start.reshape(()) + steps * delta.reshape(())

    return Apply(values)
