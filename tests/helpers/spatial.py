"""Models of one operator over positions, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import assume, settings
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxspace.model import runtime
from onnxspace.torchgraph.build import build

Arrays = dict[str, NDArray[Any]]


few = settings(max_examples=40, deadline=None, derandomize=True)


def one_node(operator: str, feeds: Arrays, stored: Arrays, opset: int, outputs: int, **attributes: Any) -> onnx.ModelProto:
    """A model of one node: `feeds` are its inputs, `stored` its weights, in the order a, b, c … of their names."""
    names = sorted(feeds | stored)
    last = names[-1]
    inputs = [name if name in names else "" for name in "abcdef"[: "abcdef".index(last) + 1]]
    made = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, made, **attributes)],
        "test",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.ndim) for k, v in feeds.items()],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in made],
        [onnx.numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    for value in graph.output:
        value.ClearField("type")
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def check(
    operator: str,
    feeds: Arrays,
    stored: Arrays | None = None,
    opset: int = 22,
    outputs: int = 1,
    grad: bool = False,
    tolerance: float = 1e-4,
    by_standard: bool = False,
    **attributes: Any,
) -> None:
    """The converter's outputs are the runtime's; with `grad`, its derivative by the floating inputs is the right one.

    `by_standard` asks the standard's reference instead, where the runtime is known to depart from it.
    """
    model = one_node(operator, feeds, stored or {}, opset, outputs, **attributes)
    try:
        expected = ReferenceEvaluator(model).run(None, feeds) if by_standard else runtime.evaluate(model, feeds)
    except Exception:  # what the standard's reference refuses too
        assume(False)
    graph = build(model, "test")
    found = graph(*[torch.from_numpy(value) for value in feeds.values()])
    for ours, theirs in zip(found if outputs > 1 else [found], expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)
    if grad:
        differentiable(graph, feeds)


def differentiable(graph: torch.nn.Module, feeds: Arrays) -> None:
    values = [torch.from_numpy(value) for value in feeds.values()]
    values = [v.double().requires_grad_() if v.is_floating_point() else v for v in values]
    doubled = graph.double()
    assert torch.autograd.gradcheck(lambda *x: doubled(*x), values, fast_mode=True)


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)
