"""Reductions, and the positions of extremes, against ONNX Runtime and the standard's reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from onnxspace.torchgraph.build import build
from tests.helpers.elementwise import Array, check, check_gradient, few, model_of, normal, ours, shapes

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@pytest.mark.parametrize("kind", REDUCTIONS)
@few
@given(
    data=st.data(),
    shape=shapes,
    keep=st.integers(0, 1),
    noop=st.integers(0, 1),
    way=st.sampled_from(["said", "stored", "computed"]),
)
def test_reductions(kind: str, data: st.DataObject, shape: tuple[int, ...], keep: int, noop: int, way: str) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True)) if shape else []
    axes = [axis - len(shape) if data.draw(st.booleans()) else axis for axis in axes]
    x: Array = np.asarray(np.abs(normal(shape)) + np.float32(0.5))
    if data.draw(st.booleans()) and kind not in ("LogSum", "LogSumExp", "L2", "Mean"):
        x = np.random.default_rng(1).integers(-5, 5, shape).astype(np.int32)
    if way == "said":
        check(f"Reduce{kind}", [x], opset=11, keepdims=keep, **({"axes": axes} if axes else {}))
        return
    assume(axes or not noop or kind in ("Max", "Min", "Mean", "Sum", "Prod"))
    stored = (1,) if way == "stored" else ()
    check(f"Reduce{kind}", [x, np.array(axes, np.int64)], stored, keepdims=keep, noop_with_empty_axes=noop)


@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reductions_have_the_right_gradient(kind: str) -> None:
    x = np.abs(normal((2, 3, 4))) + np.float32(0.5)
    for axes in ([0], [-1, 0], []):
        check_gradient(f"Reduce{kind}", [x, np.array(axes, np.int64)], keepdims=0)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("Sum", 0), ("Prod", 1), ("L1", 0), ("L2", 0), ("SumSquare", 0)),
        *(("Max", -np.inf), ("Min", np.inf), ("LogSum", -np.inf), ("LogSumExp", -np.inf)),
    ],
)
def test_reductions_over_nothing(kind: str, value: float) -> None:
    x = np.zeros((2, 0, 3), np.float32)
    inputs = [x, np.array([1], np.int64)]
    np.testing.assert_array_equal(ours(model_of(f"Reduce{kind}", inputs), inputs), np.full((2, 1, 3), value, np.float32))


@pytest.mark.parametrize(("kind", "expected"), [("L1", np.abs), ("L2", np.abs), ("SumSquare", np.square), ("LogSum", np.log)])
def test_reductions_over_no_axes_keep_their_other_steps(kind: str, expected: Callable[[Array], Array]) -> None:
    x = normal((2, 3)) if kind != "LogSum" else np.abs(normal((2, 3)))
    inputs = [x, np.array([], np.int64)]
    made = ours(model_of(f"Reduce{kind}", inputs, noop_with_empty_axes=1), inputs)
    np.testing.assert_allclose(made, expected(x), rtol=1e-6)


def test_the_norm_of_zeros_has_a_gradient_of_zero() -> None:
    graph = build(model_of("ReduceL2", [np.zeros((2, 3), np.float32)], opset=11), "test")
    x = torch.zeros(2, 3, requires_grad=True)
    graph(x).sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).all()


def test_extremes_of_unsigned_and_boolean_tensors() -> None:
    x = np.array([[2**64 - 1, 5], [3, 2**63]], np.uint64)
    for kind, function in (("Max", np.max), ("Min", np.min)):
        for values in (x, (x > 4)):
            made = ours(model_of(f"Reduce{kind}", [values], opset=20, keepdims=0), [values])
            assert made == function(values)
            assert made.dtype == values.dtype


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@few
@given(data=st.data(), shape=shapes.filter(bool), keep=st.integers(0, 1), last=st.integers(0, 1), seed=st.integers(0, 9))
def test_positions_of_extremes(operator: str, data: st.DataObject, shape: Any, keep: int, last: int, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    check(operator, [x], axis=axis, keepdims=keep, select_last_index=last)
