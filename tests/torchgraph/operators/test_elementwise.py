"""Element-wise operators, reductions and casts against ONNX Runtime and exact arithmetic; gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from onnxspace.torchgraph.build import build
from tests.helpers.elementwise import INTEGERS, Array, check, check_gradient, few, model_of, normal, ours, shapes, some


def wrapped(value: int, dtype: str) -> int:
    """An integer with the bits beyond its type dropped."""
    info = np.iinfo(dtype)
    return (value - int(info.min)) % (int(info.max) - int(info.min) + 1) + int(info.min)


def quotient(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def integers(dtype: str) -> st.SearchStrategy[int]:
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return st.one_of(st.integers(low, high), st.integers(max(low, -3), 3), st.sampled_from([low, high, high // 2 + 1]))


EXACT: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": quotient,
    "Mod": lambda a, b: a % b if b else 0,
    "Max": max,
    "Min": min,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Equal": lambda a, b: a == b,
    "BitwiseAnd": lambda a, b: a & b,
    "BitwiseOr": lambda a, b: a | b,
    "BitwiseXor": lambda a, b: a ^ b,
}


@pytest.mark.parametrize("operator", [*EXACT, "fmod"])
@some
@given(data=st.data(), dtype=st.sampled_from(INTEGERS))
def test_integers_are_computed_exactly(operator: str, data: st.DataObject, dtype: str) -> None:
    pairs = data.draw(st.lists(st.tuples(integers(dtype), integers(dtype)), min_size=1, max_size=6))
    inputs: list[Array | None] = [np.array([p[i] for p in pairs], dtype) for i in (0, 1)]
    said = {"fmod": 1} if operator == "fmod" else {}
    exact = EXACT.get(operator, lambda a, b: a - quotient(a, b) * b if b else 0)
    made = ours(model_of("Mod" if said else operator, inputs, **said), inputs)
    found = [exact(a, b) for a, b in pairs]
    if made.dtype == bool:
        assert made.tolist() == found
    else:
        assert made.dtype == np.dtype(dtype)
        assert made.tolist() == [wrapped(value, dtype) for value in found]


@some
@given(data=st.data(), dtype=st.sampled_from(INTEGERS), left=st.booleans())
def test_shifts(data: st.DataObject, dtype: str, left: bool) -> None:
    size = 8 * np.dtype(dtype).itemsize
    values = data.draw(st.lists(integers(dtype), min_size=1, max_size=6))
    counts = [data.draw(st.integers(0 if dtype[0] == "u" else -2, size + 2)) for _ in values]
    inputs: list[Array | None] = [np.array(values, dtype), np.array(counts, dtype)]
    made = ours(model_of("BitShift", inputs, opset=28, direction="LEFT" if left else "RIGHT"), inputs)
    outside = [not 0 <= count < size for count in counts]
    beyond = [-1 if value < 0 and not left else 0 for value in values]
    moved = [wrapped(v << max(c, 0) if left else v >> max(c, 0), dtype) for v, c in zip(values, counts, strict=True)]
    assert made.tolist() == [b if o else m for o, b, m in zip(outside, beyond, moved, strict=True)]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_functions_of_one_integer(dtype: str) -> None:
    x = np.array([0, 1, 2, np.iinfo(dtype).max, np.iinfo(dtype).min + 1], dtype)
    expected = {"Sign": np.sign(x), "Abs": np.abs(x), "BitwiseNot": ~x} | ({} if dtype[0] == "u" else {"Neg": -x})
    for operator, values in expected.items():
        np.testing.assert_array_equal(ours(model_of(operator, [x]), [x]), values)


def test_a_number_that_is_none_has_no_sign() -> None:
    check("Sign", [np.array([np.nan, 0, -0.5, np.inf], np.float32)])


@few
@given(x=shapes, fmod=st.booleans())
def test_remainders_of_floats(x: tuple[int, ...], fmod: bool) -> None:
    a, b = np.asarray(5 * normal(x)), np.asarray(normal(x, 1))
    expected = np.fmod(a, b) if fmod else np.mod(a, b)
    made = ours(model_of("Mod", [a, b], opset=28, fmod=int(fmod)), [a, b])
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize("power", ["float32", "int32", "int64"])
@pytest.mark.parametrize("base", ["float32", "int32", "int64"])
def test_powers_keep_the_type_of_the_base(base: str, power: str) -> None:
    check("Pow", [np.array([1, 2, 3, 5], base), np.array([0, 3, 2, 1], power)])


def test_old_versions_broadcast_where_they_say_so() -> None:
    a, b = normal((2, 3, 4)), normal((3,), 1)
    for operator, function in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide)):
        for opset in (1, 6):
            made = ours(model_of(operator, [a, b], opset=opset, broadcast=1, axis=1), [a, b])
            np.testing.assert_allclose(made, function(a, b[:, None]), rtol=1e-6)
    made = ours(model_of("Add", [a, normal((4,))], opset=6, broadcast=1), [a, normal((4,))])
    np.testing.assert_allclose(made, a + normal((4,)), rtol=1e-6)
    made = ours(model_of("And", [a > 0, b > 0], opset=1, broadcast=1, axis=-2), [a > 0, b > 0])
    np.testing.assert_array_equal(made, (a > 0) & (b > 0)[:, None])


@few
@given(shape=shapes, low=st.sampled_from([None, -0.5, 0.0, 2.0]), high=st.sampled_from([None, 0.5, 6.0]), data=st.data())
def test_clip(shape: tuple[int, ...], low: float | None, high: float | None, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["float32", "int8", "int32", "uint8", "uint64", "int64"]))
    assume(dtype[0] != "u" or low != -0.5)
    bounds = [None if bound is None else np.array(bound, dtype) for bound in (low, high)]
    stored = data.draw(st.sampled_from([(), (1,), (2,), (1, 2)]))
    check(
        "Clip",
        [np.asarray(3 * np.abs(normal(shape)), dtype), *bounds],
        tuple(i for i in stored if bounds[i - 1] is not None),
        13,
    )


def test_clip_with_stored_bounds_is_a_function_of_one_tensor() -> None:
    inputs = [normal((2, 3)), np.array(0, np.float32), np.array(1, np.float32)]
    graph = build(model_of("Clip", inputs, (1, 2)), "test")
    (call,) = [node for node in graph.graph.nodes if node.op == "call_module"]
    assert len(call.args) == 1
    check_gradient("Clip", inputs)
    check_gradient("Clip", inputs, (1, 2))


ACTIVATIONS: list[tuple[str, int, dict[str, float]]] = [
    ("Acosh", 22, {}), ("Asinh", 22, {}), ("Atanh", 22, {}), ("Cosh", 22, {}), ("Sinh", 22, {}), ("Elu", 22, {"alpha": 0.3}),
    ("Selu", 22, {}), ("Selu", 22, {"alpha": 2.0, "gamma": 0.5}), ("Celu", 12, {"alpha": 2.5}), ("Celu", 12, {}),
    ("HardSigmoid", 22, {"alpha": 0.3, "beta": 0.6}), ("HardSwish", 22, {}), ("ThresholdedRelu", 22, {"alpha": 0.3}),
    ("ThresholdedRelu", 10, {}), ("Shrink", 9, {"bias": 0.2, "lambd": 0.6}), ("Shrink", 9, {}), ("Swish", 24, {"alpha": 1.7}),
    ("Swish", 24, {}), ("Softmax", 11, {"axis": 1}), ("Softmax", 13, {"axis": 0}), ("LogSoftmax", 11, {"axis": 0}),
    ("LogSoftmax", 13, {}), ("Abs", 13, {}), ("Neg", 13, {}), ("Softplus", 22, {}), ("Erf", 13, {}), ("Mish", 22, {}),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "opset", "said"), ACTIVATIONS)
def test_functions_of_one_tensor(operator: str, opset: int, said: dict[str, float]) -> None:
    x = 2 * normal((2, 3, 4)) if operator != "Atanh" else np.tanh(normal((2, 3, 4)))
    x = x if operator != "Acosh" else 1 + np.abs(x)
    check(operator, [x], opset=opset, **said)
    check_gradient(operator, [x], opset=opset, **said)


@pytest.mark.parametrize("operator", ["Elu", "Selu", "Celu"])
def test_exponential_activations_have_finite_gradients_far_out(operator: str) -> None:
    graph = build(model_of(operator, [normal((3,))], opset=12), "test")
    x = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    graph(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_swiglu() -> None:
    a, b = normal((2, 3)), normal((2, 3), 1)
    made = ours(model_of("SwiGLU", [a, b], opset=28, alpha=1.5), [a, b])
    np.testing.assert_allclose(made, a / (1 + np.exp(-1.5 * a)) * b, rtol=1e-5)
    check_gradient("SwiGLU", [a, b], opset=28)


@few
@given(shape=shapes.filter(lambda s: len(s) > 1), kept=st.integers(0, 4))
def test_prelu_with_any_slope(shape: tuple[int, ...], kept: int) -> None:
    slope = normal(shape[len(shape) - min(kept, len(shape)) :], 1)
    check("PRelu", [normal(shape), slope], (1,), 16)


def test_prelu_of_old_versions_has_a_slope_per_channel() -> None:
    x, slope = normal((2, 3, 3)), normal((3,), 1)
    made = ours(model_of("PRelu", [x, slope], opset=6), [x, slope])
    np.testing.assert_allclose(made, np.where(x > 0, x, slope[:, None] * x), rtol=1e-6)
    check_gradient("PRelu", [x, slope], opset=6)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_infinities_that_are_asked_for(positive: int, negative: int) -> None:
    x = np.array([1, np.inf, -np.inf, np.nan], np.float32)
    check("IsInf", [x], opset=20, detect_positive=positive, detect_negative=negative)


@pytest.mark.parametrize(("operator", "opset"), [("CumSum", 14), ("CumProd", 26)])
@few
@given(data=st.data(), shape=shapes.filter(bool), exclusive=st.integers(0, 1), reverse=st.integers(0, 1))
def test_running_sums_and_products(
    operator: str, opset: int, data: st.DataObject, shape: tuple[int, ...], exclusive: int, reverse: int
) -> None:
    axis = np.array(data.draw(st.integers(-len(shape), len(shape) - 1)), np.int64)
    x = data.draw(st.sampled_from([normal(shape), (4 * normal(shape)).astype(np.int32)]))
    check(operator, [x, axis], data.draw(st.sampled_from([(), (1,)])), opset, exclusive=exclusive, reverse=reverse)
    if x.dtype == np.float32:
        check_gradient(operator, [x, axis], opset=opset, exclusive=exclusive, reverse=reverse)


@few
@given(shape=shapes.filter(lambda s: len(s) > 1), k=st.integers(-4, 4), upper=st.integers(0, 1))
def test_triangles(shape: tuple[int, ...], k: int, upper: int) -> None:
    check("Trilu", [normal(shape), np.array(k, np.int64)], upper=upper)


@few
@given(data=st.data(), shape=shapes.filter(bool), opset=st.sampled_from([1, 11, 13]), seed=st.integers(0, 5))
def test_hardmax(data: st.DataObject, shape: tuple[int, ...], opset: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    axis = data.draw(st.integers(0 if opset < 11 else -len(shape), len(shape) - 1))
    check("Hardmax", [x], opset=max(opset, 7), axis=axis)
