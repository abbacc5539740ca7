"""Which range of values a graph expects of its image, by its type and by the arithmetic in front of its first layer."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.graph import Graph
from onnxspace.model.image_input import MOVING, ImageInput, follow_image

_T = onnx.TensorProto


def value_range(graph: Graph, image: ImageInput) -> tuple[float, float, str]:
    """Infer the values that pixels 0 and 255 are mapped to, and the reason in words.

    They are 0 and 255 for a uint8 input, and where the graph divides by about 255 or subtracts a mean above 2; 0 and 1 where
    it subtracts a mean between .2 and .8; the range of an input quantiser where there is one; −1 and 1 otherwise.
    """
    if image.elem_type in (_T.UINT8, _T.INT8):
        low = 0.0 if image.elem_type == _T.UINT8 else -128.0
        return low, low + 255, "8-bit pixels as they are, because the input is of an 8-bit type"
    slope, offset = 1.0, 0.0
    for node in follow_image(graph, image.name):
        if node.op_type == "QuantizeLinear":
            return _quantised_range(graph, node, slope, offset)
        step = _affine_of(graph, node)
        if step is None:
            break
        slope, offset = slope * step[0], offset * step[0] + step[1]
    return _range_from(slope, offset)


def _range_from(slope: float, offset: float) -> tuple[float, float, str]:
    """The pixel range for which `slope · x + offset` is normalised."""
    centre = -offset / slope if slope else 0.0
    if centre > 2 or 0 < abs(slope) < 0.02:
        return 0.0, 255.0, "pixels 0–255, because the graph itself rescales its input"
    if 0.2 <= centre <= 0.8:
        return 0.0, 1.0, "pixels mapped to [0, 1], because the graph itself subtracts a mean of that range"
    return -1.0, 1.0, "pixels mapped to [−1, 1]"


def _affine_of(graph: Graph, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Mean slope and offset of a node that scales or shifts by constants; None for any other."""
    if node.op_type in MOVING:
        return 1.0, 0.0
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


def _quantised_range(graph: Graph, node: onnx.NodeProto, slope: float, offset: float) -> tuple[float, float, str]:
    scale = _mean(graph.constant(node.input[1]))
    zero = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.uint8)
    if scale is None or zero is None or zero.dtype not in (np.uint8, np.int8) or slope != 1 or offset != 0:
        return _range_from(slope, offset)
    low = scale * ((0 if zero.dtype == np.uint8 else -128) - int(zero.reshape(-1)[0]))
    high = low + 255 * scale
    choices = [(0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)]
    best = min(choices, key=lambda c: abs(c[0] - low) / (c[1] - c[0]) + abs(c[1] / max(high, 1e-9) - 1))
    return *best, f"pixels mapped to [{best[0]:g}, {best[1]:g}], the range that the input's quantiser covers"
