"""Weights of 2, 4 or 8 bits in blocks with a scale each, as MatMulNBits of ONNX Runtime holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import Graph

Array = NDArray[Any]
_BITS = {2: "uint2", 4: "uint4", 8: "uint8"}


def read_packed(graph: Graph, node: NodeProto) -> tuple[Array, str, float] | None:
    """The weights [outputs, inputs] that the integers stand for, the type of these, and the largest step; None for another form."""
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    outputs, inputs, size, bits = (sizes.get(name, 0) for name in ("N", "K", "block_size", "bits"))
    bits = bits or 4
    packed, scales, zeros = (
        evaluate(graph, node.input[at], MOST_STEPS) if at < len(node.input) and node.input[at] else None for at in (1, 2, 3)
    )
    if bits not in _BITS or min(outputs, inputs, size) < 1 or packed is None or scales is None or packed.dtype != np.uint8:
        return None
    blocks = -(-inputs // size)
    if packed.size * 8 != outputs * blocks * size * bits or scales.size != outputs * blocks:
        return None
    middle = _read_zeros(zeros, outputs, blocks, bits)
    if middle is None:
        return None
    factors = scales.astype(np.float32).reshape(outputs, blocks, 1)
    rows = (_unpack(packed.reshape(outputs, blocks, -1), bits) - middle) * factors
    return rows.reshape(outputs, -1)[:, :inputs], _BITS[bits], float(np.abs(factors).max())


def _read_zeros(zeros: Array | None, outputs: int, blocks: int, bits: int) -> Array | None:
    """The zero point of each block, the middle of the range without one; None for another form."""
    if zeros is None:
        return np.full((1, 1, 1), 2.0 ** (bits - 1), np.float32)
    found = zeros.astype(np.float32) if zeros.dtype.kind == "f" else None
    if found is None and zeros.dtype == np.uint8 and zeros.size and zeros.size % outputs == 0:
        found = _unpack(zeros.reshape(outputs, -1), bits)[:, :blocks]
    return None if found is None or found.size != outputs * blocks else found.reshape(outputs, blocks, 1)


def _unpack(values: Array, bits: int) -> Array:
    """The numbers of bytes along the last axis, lowest bits first."""
    spread = (values[..., None] >> np.arange(0, 8, bits, dtype=np.uint8)) & (2**bits - 1)
    return np.asarray(spread.reshape(*values.shape[:-1], -1), np.float32)
