"""Stored tensors, and those that are created from a shape or from bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxspace.torchgraph.build import to_tensor
from onnxspace.torchgraph.registry import (
    Apply,
    HostValue,
    Node,
    TorchOperator,
    converter,
    read_on_host,
    to_integers,
    to_numbers,
    torch_type,
)

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


class Filled(nn.Module):
    """A tensor of a shape, filled with one value, where the weights are."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.number = value.item()
        self.register_buffer("value", value)

    def forward(self, shape: HostValue) -> Tensor:
        return torch.full(to_integers(shape), self.number, dtype=self.value.dtype, device=self.value.device)


@converter("ConstantOfShape", 9, 20, 21, 23, 24, 25)
def constant_of_shape(node: Node) -> TorchOperator:
    """ConstantOfShape."""
    return read_on_host(Filled(to_tensor(np.asarray(node.get("value", np.zeros(1, np.float32)))).reshape(())), 0)


@converter("EyeLike", 9, 22)
def eye_like(node: Node) -> TorchOperator:
    """EyeLike: ones on the k-th diagonal."""
    shift = node.get("k", 0)
    dtype = torch_type(node.get("dtype")) if "dtype" in node.attributes else None

    def eye(x: Tensor) -> Tensor:
        ones = torch.ones(x.shape[0], x.shape[1], device=x.device)
        return ones.tril(shift).triu(shift).to(dtype or x.dtype)

    return Apply(eye)


class Range(nn.Module):
    """`start + i · delta` up to, but not including, the limit; Python numbers get the declared type, and go where the weights are."""

    like: Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros((), dtype=dtype))

    def forward(self, start: HostValue, limit: HostValue, delta: HostValue) -> Tensor:
        first, last, step = (to_numbers(value)[0] for value in (start, limit, delta))
        like = start if isinstance(start, Tensor) else self.like
        exact = like.is_floating_point()
        count = max(math.ceil((last - first) / step), 0) if exact else len(range(int(first), int(last), int(step)))
        steps = torch.arange(count, device=like.device).to(like.dtype)
        if isinstance(start, Tensor) and isinstance(delta, Tensor):
            return start.reshape(()) + steps * delta.reshape(())
        return first + steps * step


@converter("Range", 11, 27)
def range_(node: Node) -> TorchOperator:
    """Range."""
    kind = node.element_type(0)
    return read_on_host(Range(torch_type(kind) if kind else torch.int64), 0, 1, 2)
