"""Casts between number formats, against ONNX Runtime and the standard's reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxspace.errors import ModelError, UnsupportedOperatorError
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.encoder_graph import to_torch
from onnxspace.torchgraph.whole_model import as_tensor
from tests.helpers.elementwise import INTEGERS, few, model_of, normal, ours, some

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
