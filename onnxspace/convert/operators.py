"""Converters of our own, for operators and versions that onnx2torch has none for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_REDUCTIONS = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceL2": torch.linalg.vector_norm,
}


class Reduce(nn.Module):
    """Reduction over fixed axes (ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceL2 from version 18)."""

    def __init__(self, operator: str, axes: list[int] | None, keepdim: bool) -> None:
        super().__init__()
        self.operator, self.axes, self.keepdim = operator, axes, keepdim

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(x.dim())) if self.axes is None else tuple(self.axes)
        reduced: Tensor = _REDUCTIONS[self.operator](x, dim=axes, keepdim=self.keepdim)
        return reduced


class Split(nn.Module):
    """Split into `count` parts of equal size, the last one smaller where it does not divide (version 18)."""

    def __init__(self, count: int, axis: int, sizes: list[int] | None) -> None:
        super().__init__()
        self.count, self.axis, self.sizes = count, axis, sizes

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        equal = -(-x.shape[self.axis] // self.count)
        return tuple(torch.split(x, self.sizes or equal, dim=self.axis))


class GlobalMaxPool(nn.Module):
    """Maximum over all spatial positions, which stay as axes of size one."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True)


class CastLike(nn.Module):
    """The first argument in the element type of the second."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return x.to(like.dtype)


def _constant(name: str, graph: Any) -> list[int]:
    from onnx2torch.utils.common import get_const_value

    try:
        return [int(n) for n in get_const_value(name, graph).tolist()]
    except KeyError as error:
        raise NotImplementedError("computed axes or sizes") from error


def reduce(node: Any, graph: Any) -> Any:
    """Reduce* with axes as an input."""
    names = node.input_values
    axes = _constant(names[1], graph) if len(names) > 1 and names[1] else None
    if not axes and node.attributes.get("noop_with_empty_axes", 0):
        return _result(node, nn.Identity(), 1)
    return _result(node, Reduce(node.operation_type, axes or None, bool(node.attributes.get("keepdims", 1))), 1)


def split(node: Any, graph: Any) -> Any:
    """Split with `num_outputs`, or sizes as an input."""
    names = node.input_values
    sizes = _constant(names[1], graph) if len(names) > 1 and names[1] else None
    return _result(node, Split(len(node.output_values), node.attributes.get("axis", 0), sizes), 1)


def gelu(node: Any, _graph: Any) -> Any:
    """Gelu in either form."""
    return _result(node, nn.GELU(approximate=node.attributes.get("approximate", "none")), 1)


def mish(node: Any, _graph: Any) -> Any:
    """Mish."""
    return _result(node, nn.Mish(), 1)


def global_max_pool(node: Any, _graph: Any) -> Any:
    """GlobalMaxPool."""
    return _result(node, GlobalMaxPool(), 1)


def cast_like(node: Any, _graph: Any) -> Any:
    """CastLike."""
    return _result(node, CastLike(), 2)


def _result(node: Any, module: nn.Module, inputs: int) -> Any:
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult

    mapping = OnnxMapping(inputs=node.input_values[:inputs], outputs=node.output_values)
    return OperationConverterResult(torch_module=module, onnx_mapping=mapping)


#: (operator, version) → converter
CONVERTERS = {
    **{(operator, 18): reduce for operator in _REDUCTIONS if operator != "ReduceSum"},
    ("ReduceMax", 20): reduce,
    ("ReduceMin", 20): reduce,
    ("Split", 18): split,
    ("Gelu", 20): gelu,
    ("Mish", 18): mish,
    ("Mish", 22): mish,
    ("GlobalMaxPool", 1): global_max_pool,
    ("GlobalMaxPool", 22): global_max_pool,
    **{("CastLike", version): cast_like for version in (15, 19, 21, 23, 24, 25)},
}
