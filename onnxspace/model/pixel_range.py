"""Which range of values a graph expects of its image, by its type and by the arithmetic in front of its first layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.preprocess import Color
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import MOVING, WHOLE, ImageInput, follow_image

_T = onnx.TensorProto


#: Types whose tensors hold pixels as they are, whatever else is said.
EIGHT_BIT = frozenset({_T.UINT8, _T.INT8})
#: How far the range of an input's quantiser may be from a usual one, as a share of it; what is farther is evidence at most.
_TOLERANCE = 0.1
#: The largest 16-bit number, and how far a divisor may be from it, as a share.
_SIXTEEN, _SIXTEEN_BITS = 65535.0, 0.01
#: ImageNet's means, red first, of pixels in [0, 1] and in 0–255 by torchvision and by Caffe.
_MEANS = ((0.485, 0.456, 0.406), (123.675, 116.28, 103.53), (123.68, 116.779, 103.939))


@dataclass(frozen=True)
class GraphRange:
    """The values that pixels 0 and 255 are mapped to, the `reason` in words, and the order of `color`, None where it tells none."""

    low: float
    high: float
    reason: str
    color: Color | None = None


def find_graph_range(graph: Graph, image: ImageInput) -> GraphRange | None:
    """The range that the graph itself tells, None where it does not.

    It is 0–255 for a uint8 input, and where the graph divides by about 255 or subtracts a mean above 2; [0, 1] where it subtracts
    a mean between .2 and .8; the range of an input quantiser where that is a usual one.
    """
    if image.elem_type in EIGHT_BIT:
        low = 0.0 if image.elem_type == _T.UINT8 else -128.0
        return GraphRange(low, low + 255, "the input is of an 8-bit type")
    slope, offset, color = 1.0, 0.0, None
    for node in follow_image(graph, image.name):
        if node.op_type == "QuantizeLinear":
            return _find_quantised_range(graph, node, slope, offset)
        step = _affine_of(graph, node)
        if step is None:
            break
        slope, offset, color = slope * step[0], offset * step[0] + step[1], color or _find_order(graph, node)
    found = _range_for(slope, offset)
    found = found if image.elem_type not in WHOLE else _find_whole_range(slope, found)
    return None if found is None else replace(found, color=color)


def _find_whole_range(slope: float, found: GraphRange | None) -> GraphRange | None:
    """The range of an input of 16-bit or longer integers: of all 16 bits where the graph divides by as much, never [0, 1]."""
    if abs(slope * _SIXTEEN - 1) < _SIXTEEN_BITS:
        return GraphRange(0.0, _SIXTEEN, "the graph divides its input by the largest 16-bit number")
    return None if found is None or found.high <= 1 else found


def _find_order(graph: Graph, node: onnx.NodeProto) -> Color | None:
    """The order of colours in which a node subtracts ImageNet's means; None where it subtracts others, or nothing."""
    constants = [graph.constant(name) for name in node.input if name] if node.op_type in ("Add", "Sub") else []
    constants += [np.asarray(a.floats) for a in node.attribute if node.op_type == "ImageScaler" and a.name == "bias"]
    for value in constants:
        if value is not None and value.size == 3 and value.dtype.kind in "fiu":
            means = np.abs(value.astype(np.float64).reshape(-1))
            for color, order in (("RGB", 1), ("BGR", -1)):
                if any(np.allclose(means[::order], ref, rtol=0.01) for ref in _MEANS):
                    return "RGB" if color == "RGB" else "BGR"
    return None


def _range_for(slope: float, offset: float) -> GraphRange | None:
    """The range of x for which `slope · x + offset` is normalised, None where that can't be told."""
    centre = -offset / slope if slope else 0.0
    if centre > 2 or 0 < abs(slope) < 0.02:
        return GraphRange(0.0, 255.0, "the graph rescales its input")
    if 0.2 <= centre <= 0.8:
        return GraphRange(0.0, 1.0, "the graph subtracts a mean of that range")
    return None


def _affine_of(graph: Graph, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Mean slope and offset of a node that scales or shifts by constants; None for any other."""
    if node.op_type in MOVING:
        return 1.0, 0.0
    if node.op_type == "ImageScaler":
        scale = next((a.f for a in node.attribute if a.name == "scale"), 1.0)
        return scale, float(np.mean([a.floats for a in node.attribute if a.name == "bias"] or [0.0]))
    if node.op_type == "BatchNormalization":
        return _affine_of_batch_norm(graph, node)
    values = [c for name in node.input if (c := _mean(graph.constant(name))) is not None]
    if node.op_type not in {"Mul", "Div", "Sub", "Add"} or len(values) != 1 or len(node.input) != 2:
        return None
    reversed_ = graph.constant(node.input[0]) is not None
    return _affine_of_arithmetic(node.op_type, values[0], reversed_)


def _affine_of_arithmetic(op_type: str, value: float, reversed_: bool) -> tuple[float, float] | None:
    if op_type == "Mul":
        return value, 0.0
    if op_type == "Div":
        return None if reversed_ or value == 0 else (1 / value, 0.0)
    if op_type == "Add":
        return 1.0, value
    return (-1.0, value) if reversed_ else (1.0, -value)


def _affine_of_batch_norm(graph: Graph, node: onnx.NodeProto) -> tuple[float, float] | None:
    parts = [graph.constant(name) for name in node.input[1:5]]
    gain, bias, mean, variance = [None if part is None else np.asarray(part, np.float64) for part in parts]
    if gain is None or bias is None or mean is None or variance is None:
        return None
    slope = gain / np.sqrt(np.maximum(variance, 0) + 1e-5)
    return float(np.mean(slope)), float(np.mean(-slope * mean))


def _mean(value: NDArray[np.generic] | None) -> float | None:
    if value is None or value.size == 0 or value.size > 4096 or value.dtype.kind not in "fiu":
        return None
    return float(np.mean(value.astype(np.float64)))


def _find_quantised_range(graph: Graph, node: onnx.NodeProto, slope: float, offset: float) -> GraphRange | None:
    scale = _mean(graph.constant(node.input[1]))
    zero = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.uint8)
    if scale is None or zero is None or zero.dtype not in (np.uint8, np.int8) or slope != 1 or offset != 0:
        return _range_for(slope, offset)
    low = scale * ((0 if zero.dtype == np.uint8 else -128) - int(zero.reshape(-1)[0]))
    choices = [(0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)]
    first, last = min(choices, key=lambda one: _difference(one, (low, low + 255 * scale)))
    if _difference((first, last), (low, low + 255 * scale)) > _TOLERANCE:
        return None
    return GraphRange(first, last, "the range of the input's quantiser")


def _difference(usual: tuple[float, float], found: tuple[float, float]) -> float:
    """The larger difference of two ends, as a share of the usual range."""
    return max(abs(a - b) for a, b in zip(usual, found, strict=True)) / (usual[1] - usual[0])
