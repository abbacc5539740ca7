"""A stub of TensorFlow with what tf2onnx needs to convert TFLite files, for machines without TensorFlow.

tf2onnx imports TensorFlow everywhere, but needs only four things here: messages that hold a stored tensor, their values as an
array, numbers of types, and an interpreter that gives shapes.
"""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: TensorFlow's numbers of types, as its stored messages have them.
_KINDS: dict[int, Any] = {
    1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 8: np.complex64, 9: np.int64, 10: np.bool_,
    17: np.uint16, 18: np.complex128, 19: np.float16, 22: np.uint32, 23: np.uint64,
}  # fmt: skip
_STRING = 7


class _Dims(list[Any]):
    """Sizes of axes, as a message holds them."""

    def add(self) -> Any:
        self.append(types.SimpleNamespace(size=0))
        return self[-1]


class StoredTensor:
    """A tensor message: bytes, type and shape."""

    def __init__(self) -> None:
        self.tensor_content, self.dtype = b"", 0
        self.tensor_shape = types.SimpleNamespace(dim=_Dims())


def to_array(stored: StoredTensor) -> NDArray[Any]:
    """The values of a stored tensor; a single value may stand for all."""
    shape = [dim.size for dim in stored.tensor_shape.dim]
    values = np.frombuffer(stored.tensor_content, _KINDS[stored.dtype])
    return np.full(shape, values[0]) if values.size == 1 else values.reshape(shape).copy()


class _StubModule(types.ModuleType):
    """A stub module, which raises ImportError for all that it lacks."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        raise ImportError(f"this needs TensorFlow itself ({self.__name__}.{name})")


def _make_module(name: str, **members: Any) -> types.ModuleType:
    made = _StubModule(name)
    made.__path__ = []
    made.__dict__.update(members)
    return made


def install_stub() -> None:
    """Install the stub in `sys.modules`, unless TensorFlow is installed."""
    if "tensorflow" in sys.modules or find_spec("tensorflow") is not None:
        return
    from ai_edge_litert.interpreter import Interpreter

    level = types.SimpleNamespace(set_verbosity=lambda _level: None)
    tensors = _make_module("tensorflow.core.framework.tensor_pb2", TensorProto=StoredTensor)
    framework = _make_module("tensorflow.core.framework", tensor_pb2=tensors)
    root = _make_module(
        "tensorflow", __version__="2.0.0", string=_STRING, make_ndarray=to_array, DType=type("DType", (), {}),
        lite=types.SimpleNamespace(Interpreter=Interpreter),
        compat=types.SimpleNamespace(v1=types.SimpleNamespace(logging=level)),
    )  # fmt: skip
    web = _make_module(
        "tf2onnx.tfjs_utils", graphs_from_tfjs=None
    )  # its reader of TensorFlow.js asks for much more, and is not wanted
    for made in (root, _make_module("tensorflow.core", framework=framework), framework, tensors, web):
        sys.modules[made.__name__] = made
