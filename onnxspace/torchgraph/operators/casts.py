"""Cast, CastLike and BitCast. Values of types that Torch lacks (8-bit floats, 4- and 2-bit types) are kept as float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter, torch_type

_Rounding = Callable[[Tensor], Tensor]
#: Bits of the integers smaller than a byte, and whether they are signed.
_SMALL: dict[int, tuple[int, bool]] = {
    TensorProto.INT4: (4, True),
    TensorProto.UINT4: (4, False),
    TensorProto.INT2: (2, True),
    TensorProto.UINT2: (2, False),
}
#: The Torch type, its largest value, the largest that rounds to it, and what larger ones become without saturation.
_FLOAT8: dict[int, tuple[torch.dtype, float, float, float]] = {
    TensorProto.FLOAT8E4M3FN: (torch.float8_e4m3fn, 448.0, 464.0, torch.nan),
    TensorProto.FLOAT8E4M3FNUZ: (torch.float8_e4m3fnuz, 240.0, 247.99999, torch.nan),
    TensorProto.FLOAT8E5M2: (torch.float8_e5m2, 57344.0, 61439.998, torch.inf),
    TensorProto.FLOAT8E5M2FNUZ: (torch.float8_e5m2fnuz, 57344.0, 61439.998, torch.nan),
}
_UNSUPPORTED = {TensorProto.UNDEFINED, TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128}
_REPLACED: dict[int, torch.dtype] = {
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.DOUBLE: torch.float64,
}
_VALUES = _FLOAT8.keys() | _SMALL.keys() | {TensorProto.FLOAT8E8M0, TensorProto.FLOAT4E2M1}


def _pass_gradient(x: Tensor, rounded: Tensor) -> Tensor:
    """The rounded values, with the gradient of `x` (straight-through estimator)."""
    return rounded.detach() + (x - x.detach()) if x.requires_grad else rounded


def _rounding_to_float8(to: int, saturate: bool) -> _Rounding:
    dtype, largest, border, beyond = _FLOAT8[to]

    def apply(x: Tensor) -> Tensor:
        exact = x.to(torch.float32)
        inside = torch.clamp(exact, -largest, largest)
        result = _pass_gradient(inside, inside.detach().to(dtype).to(torch.float32))
        return (
            result
            if saturate
            else torch.where(exact.abs() > border, torch.copysign(torch.full_like(exact, beyond), exact), result)
        )

    return apply


def _rounding_to_exponent(mode: str) -> _Rounding:
    """Rounding to powers of two: up, down, or to the nearest, and to the largest one at most."""

    def apply(x: Tensor) -> Tensor:
        bits = x.detach().to(torch.float32).contiguous().view(torch.int32)
        power, fraction = (bits >> 23) & 0xFF, bits & 0x7FFFFF
        near = (fraction > 0x400000) | ((fraction == 0x400000) & (power > 0))
        up = {"up": fraction > 0, "down": torch.zeros_like(near), "nearest": near}[mode]
        code = torch.clamp(power + up, max=0xFE)
        result = code.to(torch.uint8).view(torch.float8_e8m0fnu).to(torch.float32)
        return torch.where(torch.isnan(x), torch.nan, result)

    return apply


def _round_to_float4(x: Tensor) -> Tensor:
    """Round to the nearest of 0, ½, 1, 1½, 2, 3, 4 and 6, with a sign, ties to even. NaN becomes zero."""
    inside = torch.clamp(torch.nan_to_num(x.to(torch.float32), 0.0), -6, 6)
    size = inside.detach().abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return _pass_gradient(inside, torch.round(inside / step) * step)


def _rounding_to_small(to: int) -> _Rounding:
    """Truncation to an integer, of which the lowest bits are kept."""
    bits, signed = _SMALL[to]
    shift: int = 2 ** (bits - 1) if signed else 0

    def apply(x: Tensor) -> Tensor:
        whole = torch.nan_to_num(x.detach(), 0.0) if x.is_floating_point() else x
        result: Tensor = ((whole.to(torch.int64) + shift) & (2**bits - 1)) - shift
        return result.to(torch.float32)

    return apply


def _rounding_to(dtype: torch.dtype) -> _Rounding:
    """Conversion to a Torch type; floating point becomes an integer through int64, of which the lowest bits are kept."""

    def apply(x: Tensor) -> Tensor:
        through = x.is_floating_point() and not dtype.is_floating_point and dtype not in (torch.bool, torch.uint64)
        if dtype.is_floating_point and x.is_floating_point():
            return x  # all graphs compute in the precision of their input
        return x.to(torch.int64).to(dtype) if through else x.to(dtype)

    return apply


def _make_cast(to: int, node: Node) -> TorchOperator:
    """A module that casts to the `onnx.TensorProto` type `to`."""
    saturate = bool(node.get("saturate", 1))
    if to in _UNSUPPORTED:
        raise NotImplementedError("strings or complex numbers" if to else "an unknown type")
    if to in _FLOAT8:
        return Apply(_rounding_to_float8(to, saturate))
    if to == TensorProto.FLOAT8E8M0:
        if not saturate:
            raise NotImplementedError("FLOAT8E8M0 without saturation")
        return Apply(_rounding_to_exponent(node.get("round_mode", "up")))
    if to == TensorProto.FLOAT4E2M1:
        return Apply(_round_to_float4)
    return Apply(_rounding_to_small(to) if to in _SMALL else _rounding_to(torch_type(to)))


@converter("Cast", 1, 6, 9, 13, 19, 21, 23, 24, 25, 28)
def cast(node: Node) -> TorchOperator:
    """Cast; the oldest version gives its type by name."""
    to = node.get("to")
    return _make_cast(TensorProto.DataType.Value(to) if isinstance(to, str) else int(to), node)


@converter("CastLike", 15, 19, 21, 23, 24, 25)
def cast_like(node: Node) -> TorchOperator:
    """Cast to the declared type of the second input."""
    result = _make_cast(node.element_type(1), node)
    return Apply(lambda x, _like: result(x))


@converter("BitCast", 26)
def bit_cast(node: Node) -> TorchOperator:
    """The same bits as another type; not for types that are computed in single precision, whose bits are lost."""
    source, to = node.element_type(0), int(node.get("to"))
    if not source or source in _REPLACED or {source, to} & _VALUES:
        raise NotImplementedError("the bits of a type that is kept in single precision")
    dtype = _REPLACED.get(to) or torch_type(to)
    if torch_type(source).itemsize != dtype.itemsize:  # a source of double or half precision has been declared as single
        raise NotImplementedError("the bits of a type that is kept in single precision")

    def apply(x: Tensor) -> Tensor:
        result = x != 0 if dtype == torch.bool else x.contiguous().view(dtype)
        return result.to(torch.float32) if result.is_floating_point() else result

    return Apply(apply)
