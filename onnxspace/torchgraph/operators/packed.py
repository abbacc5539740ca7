"""Weights of 2, 4 or 8 bits in blocks, each with its scale and zero point, as ONNX Runtime's weight-only quantisers write them.

See MatMulNBits and GatherBlockQuantized in ContribOperators.md of ONNX Runtime. Weights are unpacked once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Node, TorchOperator, converter, limit_inputs

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


def unpack(values: NDArray[Any], bits: int, count: int) -> NDArray[np.float32]:
    """Unpack the last axis of bytes to `count` numbers of `bits` bits, lowest bits first. Raises ValueError for too few bytes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    spread = (values.astype(np.uint8)[..., None] >> shifts) & (2**bits - 1)
    flat = spread.reshape(*values.shape[:-1], -1)
    if flat.shape[-1] < count:
        raise ValueError(f"{values.shape[-1]} bytes hold fewer than {count} numbers of {bits} bits")
    numbers: NDArray[np.float32] = flat[..., :count].astype(np.float32)
    return numbers


def _read(node: Node, index: int) -> NDArray[Any]:
    value = node.constant(index)
    if value is None:
        raise NotImplementedError(f"input {index} is omitted")
    return value


def _unpack_matrix(node: Node) -> NDArray[np.float32]:
    """The weights [N, K] of MatMulNBits."""
    columns, rows, bits, size = (int(node.get(name)) for name in ("N", "K", "bits", "block_size"))
    if bits not in (2, 4, 8) or size < 16 or columns < 1 or rows < 1:
        raise NotImplementedError(f"{bits} bits in blocks of {size}")
    blocks = -(-rows // size)
    packed = _read(node, 1).reshape(columns, blocks, -1)
    scales = np.asarray(_read(node, 2), np.float32).reshape(columns, blocks, 1)
    weights = (unpack(packed, bits, size) - _read_zeros(node, columns, blocks, bits)) * scales
    return np.ascontiguousarray(weights.reshape(columns, -1)[:, :rows])


def _read_zeros(node: Node, columns: int, blocks: int, bits: int) -> NDArray[np.float32] | float:
    """Zero points [N, blocks, 1]; the middle of the range where none are given."""
    zeros = node.constant(3)
    if zeros is None:
        return float(2 ** (bits - 1))
    if zeros.dtype.kind == "f":
        return np.asarray(zeros, np.float32).reshape(columns, blocks, 1)
    return unpack(zeros.reshape(columns, -1), bits, blocks)[..., None]


class PackedProduct(nn.Module):
    """`A · Wᵀ + bias`."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


@converter("MatMulNBits", *_RUNTIME, domain=_MICROSOFT)
def matmul_n_bits(node: Node) -> TorchOperator:
    """MatMulNBits in single precision, whatever its `accuracy_level` allows a kernel."""
    if node.has(4) or node.get("weight_prepacked", 0):
        raise NotImplementedError("an order of groups or prepacked weights of MatMulNBits")
    bias = node.constant(5)
    added = None if bias is None else torch.from_numpy(np.asarray(bias, np.float32))
    return limit_inputs(PackedProduct(torch.from_numpy(_unpack_matrix(node)), added), 1)


def _unpack_table(node: Node, axis: int, size: int) -> NDArray[np.float32]:
    """The table of GatherBlockQuantized: bytes hold two numbers of 4 bits along the last axis."""
    data, kind, bits = _read(node, 0), node.element_type(0), int(node.get("bits", 4))
    packed, zeros = kind == onnx.TensorProto.UINT8, node.constant(3)
    if packed and bits not in (4, 8):
        raise NotImplementedError(f"{bits} bits")
    values = unpack(data, bits, data.shape[-1] * 8 // bits) if packed else data.astype(np.float32)
    scales = np.asarray(_read(node, 2), np.float32)
    shift: NDArray[np.float32] | float = float(2 ** (bits - 1)) if packed else 0.0
    if zeros is not None:
        shift = unpack(zeros, bits, scales.shape[-1]) if packed else zeros.astype(np.float32)
    table: NDArray[np.float32] = (values - _repeat(shift, axis, size, values)) * _repeat(scales, axis, size, values)
    return table


def _repeat(given: NDArray[np.float32] | float, axis: int, size: int, like: NDArray[np.float32]) -> Any:
    """One value per block for each element of the block."""
    if isinstance(given, float):
        return given
    return np.repeat(given, size, axis).take(range(like.shape[axis]), axis)


class Table(nn.Module):
    """Entries of a stored table."""

    table: Tensor

    def __init__(self, table: Tensor, axis: int) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.axis = axis

    def forward(self, _data: Tensor, places: Tensor) -> Tensor:
        size = self.table.shape[self.axis]
        index = places.long()
        rows = self.table.index_select(self.axis, torch.where(index < 0, index + size, index).reshape(-1))
        return rows.reshape(self.table.shape[: self.axis] + index.shape + self.table.shape[self.axis + 1 :])


@converter("GatherBlockQuantized", *_RUNTIME, domain=_MICROSOFT)
def gather_block_quantized(node: Node) -> TorchOperator:
    """GatherBlockQuantized of a stored table."""
    rank = _read(node, 0).ndim
    table = _unpack_table(node, int(node.get("quantize_axis", 1)) % rank, int(node.get("block_size", 128)))
    return limit_inputs(Table(torch.from_numpy(np.ascontiguousarray(table)), int(node.get("gather_axis", 0)) % rank), 2)
