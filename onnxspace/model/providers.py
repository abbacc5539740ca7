"""Where ONNX Runtime can compute features: on a GPU if its CUDA provider works there, and otherwise why not."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from onnx import TensorProto, helper

from onnxspace.errors import quote_message
from onnxspace.model.runtime import import_onnxruntime, make_session_options

#: What computes features: ONNX Runtime on the CPU or by its CUDA provider, or the converted graph by Torch on a GPU.
Provider = Literal["cpu", "cuda", "torch"]
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: Without TF32, which rounds float32 to 10 bits, features agree with those of the CPU.
_OPTIONS = {"use_tf32": "0"}


def list_providers(provider: Provider) -> list[Any]:
    """The providers of a session, as `InferenceSession` takes them: nodes that CUDA lacks run on the CPU."""
    return [(_CUDA, dict(_OPTIONS)), _CPU] if provider == "cuda" else [_CPU]


@lru_cache(maxsize=1)
def find_fault() -> str:
    """Why ONNX Runtime can't compute on the GPU of this machine; empty where it can.

    The packages list a provider that they were built with, whether or not its libraries can be loaded: a session says what it got.
    """
    library = import_onnxruntime()
    if _CUDA not in library.get_available_providers():
        return "ONNX Runtime here has no CUDA provider"
    try:
        session = library.InferenceSession(
            _write_sum().SerializeToString(), make_session_options(optimise=True), providers=list_providers("cuda")
        )
    except Exception as error:  # ONNX Runtime's errors share no base class
        return f"ONNX Runtime's CUDA provider fails ({quote_message(error)})"
    return (
        ""
        if session.get_providers()[:1] == [_CUDA]
        else "ONNX Runtime's CUDA provider can't be loaded, such as for lack of a library"
    )


def _write_sum() -> Any:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    total = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "sum", [value], [total])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
