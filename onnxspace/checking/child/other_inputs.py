"""Values for inputs besides the image: the same for every network, whatever its inputs are called."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError

_TENSOR = re.compile(r"tensor\((\w+)\)")
_KINDS = {
    "float": "f4", "float16": "f2", "double": "f8", "bool": "?", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8",
}  # fmt: skip
_MOST_VALUES = 2**24


def fill_inputs(session: Any, image: str) -> dict[str, NDArray[Any]]:
    """Values for every input of an ONNX Runtime session but `image`, by name.

    Floating-point inputs get 1, 1 1/8, 1 1/4 … 1 7/8 in turn, so that exchanged axes show; whole numbers get 1, which is a valid
    index, size and mask; an axis of open size has the size 1. Raises ModelError for an input that is no tensor of numbers.
    """
    return {value.name: _fill(value.name, value.type, value.shape) for value in session.get_inputs() if value.name != image}


def _fill(name: str, kind: str, shape: list[Any]) -> NDArray[Any]:
    found = _TENSOR.fullmatch(kind)
    if found is None or found[1] not in _KINDS:
        raise ModelError(f"The input {name} is a {kind}, for which there are no values. Export the network with it fixed.")
    sizes = [size if isinstance(size, int) and size >= 0 else 1 for size in shape or []]
    if math.prod(sizes) > _MOST_VALUES:
        raise ModelError(f"The input {name} has {math.prod(sizes):,} values. Export the network with it fixed.")
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    dtype = np.dtype(_KINDS[found[1]])
    return (1 + numbers % 8 / 8).astype(dtype) if dtype.kind == "f" else np.ones(sizes, dtype)
