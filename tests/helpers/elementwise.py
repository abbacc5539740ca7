"""Models of one elementwise operator, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.model import runtime
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.whole_model import as_tensor

Array = NDArray[Any]


few = settings(max_examples=25, deadline=None, derandomize=True)


some = settings(max_examples=60, deadline=None, derandomize=True)


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


shapes = st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple)


def model_of(
    operator: str, inputs: list[Array | None], stored: tuple[int, ...] = (), opset: int = 18, **said: Any
) -> onnx.ModelProto:
    """One node; the inputs at `stored` are weights, None is one left out."""
    names = ["" if value is None else f"i{index}" for index, value in enumerate(inputs)]
    weights = [numpy_helper.from_array(inputs[index], names[index]) for index in stored if inputs[index] is not None]
    given_ = [
        helper.make_tensor_value_info(names[index], helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for index, value in enumerate(inputs)
        if value is not None and index not in stored
    ]
    node = helper.make_node(operator, names, ["y"], **said)
    graph = helper.make_graph([node], "test", given_, [onnx.ValueInfoProto(name="y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def feeds(model: onnx.ModelProto, inputs: list[Array | None]) -> dict[str, Array]:
    return {value.name: inputs[int(value.name[1:])] for value in model.graph.input}  # type: ignore[misc]


def ours(model: onnx.ModelProto, inputs: list[Array | None]) -> Array:
    made: Array = build(model, "test")(*[as_tensor(value) for value in feeds(model, inputs).values()]).numpy()
    return made


def check(operator: str, inputs: list[Array | None], stored: tuple[int, ...] = (), opset: int = 18, **said: Any) -> None:
    """Ours is what ONNX Runtime computes, in shape and type too."""
    model = model_of(operator, inputs, stored, opset, **said)
    (theirs,) = runtime.evaluate(model, feeds(model, inputs))
    made = ours(model, inputs)
    assert made.shape == theirs.shape
    if theirs.dtype.name in (*INTEGERS, "bool", "float32"):
        assert made.dtype == theirs.dtype
    np.testing.assert_allclose(made.astype(np.float64), theirs.astype(np.float64), rtol=1e-4, atol=1e-6)


def check_gradient(
    operator: str, inputs: list[Array | None], stored: tuple[int, ...] = (), opset: int = 18, **said: Any
) -> None:
    model = model_of(operator, inputs, stored, opset, **said)
    graph = build(model, "test").double()
    values = [torch.from_numpy(value) for value in feeds(model, inputs).values()]
    wanted = [v.double().requires_grad_() if v.is_floating_point() else v for v in values]
    assert torch.autograd.gradcheck(graph, wanted)


def normal(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)
