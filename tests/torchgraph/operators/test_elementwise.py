"""Element-wise operators, reductions and casts against ONNX Runtime and exact arithmetic; gradients by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxspace.errors import ModelError, UnsupportedOperatorError
from onnxspace.model import runtime
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.encoder_graph import to_torch
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


FLOAT8 = [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ]


@pytest.mark.parametrize("to", FLOAT8)
@pytest.mark.parametrize("saturate", [0, 1])
@some
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_casts_to_float8(to: int, saturate: int, values: list[float]) -> None:
    """Every number, the borders of saturation, both zeros, infinities and NaN, as the type's own library rounds them."""
    import onnx.numpy_helper

    largest = {TensorProto.FLOAT8E4M3FN: 448, TensorProto.FLOAT8E4M3FNUZ: 240}.get(to, 57344)
    borders = [largest * factor for factor in (1, 1.01, 1.03, 1.034, 1.0358, 1.05, 1.0714285, 1.0715, 1.2)]
    x = np.array([*values, *borders, *(-np.array(borders)), 464.0, 248.0, 61440.0, np.inf, -np.inf, np.nan], np.float32)
    dtype = helper.tensor_dtype_to_np_dtype(to)
    with np.errstate(all="ignore"):
        expected = (onnx.numpy_helper.saturate_cast(x, dtype) if saturate else x.astype(dtype)).astype(np.float32)
    np.testing.assert_array_equal(ours(model_of("Cast", [x], opset=25, to=to, saturate=saturate), [x]), expected)


@pytest.mark.parametrize("to", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2])
def test_casts_to_small_integers(to: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(to)
    x = np.arange(-20, 20).astype(np.int32)
    made = ours(model_of("Cast", [x], opset=25, to=to), [x])
    np.testing.assert_array_equal(made, x.astype(dtype).astype(np.float32))
    back = made.astype(dtype)
    np.testing.assert_array_equal(ours(model_of("Cast", [back], opset=25, to=TensorProto.INT8), [back]), made)


@few
@given(values=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=8))
def test_casts_to_float4(values: list[float]) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT4E2M1)
    x = np.array([*values, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -5, -0.25], np.float32)
    made = ours(model_of("Cast", [x], opset=25, to=TensorProto.FLOAT4E2M1), [x])
    np.testing.assert_array_equal(made, x.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_casts_to_powers_of_two(mode: str) -> None:
    x = np.array([1, 1.2, 1.5, 1.6, 3, 2.9, 6, 100, 2**-20, 2.0**127, 3e38, np.nan], np.float32)
    made = ours(model_of("Cast", [x], opset=25, to=TensorProto.FLOAT8E8M0, round_mode=mode), [x])
    expected = numpy_helper.to_float8e8m0(x, True, mode).astype(np.float32)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("to", [*INTEGERS, "bool", "float32", "float64", "float16"])
@pytest.mark.parametrize("source", [*INTEGERS, "bool", "float32"])
def test_casts_between_plain_types(source: str, to: str) -> None:
    x = np.array([0, 1, 2, 100] if to[0] == "u" or source[0] == "u" else [0, 1, -2, 100.0], source)
    model = model_of("Cast", [x], opset=19, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
    made = ours(model, [x])
    np.testing.assert_array_equal(made, x.astype(to))
    assert made.dtype == np.dtype("float32" if to.startswith("float") else to)


def test_integers_too_large_for_a_type_lose_their_high_bits() -> None:
    x = np.array([200, -200, 70000, 2**40 + 5], np.int64)
    for to in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"):
        model = model_of("Cast", [x], opset=19, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
        np.testing.assert_array_equal(ours(model, [x]), x.astype(to))


def test_cast_like_follows_the_declared_type() -> None:
    x = np.array([0.3, 1.7, 700], np.float32)
    for to in (TensorProto.FLOAT8E4M3FN, TensorProto.UINT4, TensorProto.INT32):
        like = np.zeros(1, helper.tensor_dtype_to_np_dtype(to))
        for stored in ((), (1,)):
            made = ours(model_of("CastLike", [x, like], stored, 25), [x, like])
            np.testing.assert_array_equal(made, ours(model_of("Cast", [x], opset=25, to=to), [x]))


@pytest.mark.parametrize("to", [TensorProto.FLOAT8E5M2, TensorProto.FLOAT4E2M1])
def test_rounding_passes_gradients_and_saturation_stops_them(to: int) -> None:
    x = torch.tensor([0.3, 1e6], requires_grad=True)
    build(model_of("Cast", [normal((2,))], opset=25, to=to), "test")(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("source", "to"), [("float32", "int32"), ("int32", "float32"), ("uint16", "int16"), ("int64", "float64")]
)
def test_bits_as_another_type(source: str, to: str) -> None:
    x = np.array([1, 3, 1000], to).view(source)
    model = model_of("BitCast", [x], opset=26, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
    np.testing.assert_array_equal(ours(model, [x]), x.view(to))


@pytest.mark.parametrize(("source", "to"), [("float64", "int64"), ("float16", "int16")])
def test_bits_of_what_single_precision_replaced_are_refused(source: str, to: str) -> None:
    model = model_of("BitCast", [np.ones(3, source)], opset=26, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
    with pytest.raises(UnsupportedOperatorError, match="single precision"):
        to_torch(model)


def test_casts_to_strings_are_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="strings"):
        build(model_of("Cast", [normal((2,))], opset=19, to=TensorProto.STRING), "test")


def test_numbers_beyond_single_precision_are_refused() -> None:
    assert math.isinf(float(as_tensor(np.array([np.inf]))[0]))
    with pytest.raises(ModelError, match="single precision"):
        as_tensor(np.array([1e200]))
