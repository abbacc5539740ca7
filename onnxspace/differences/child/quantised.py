"""The numbers that stand in tensors of integers: their scale and zero point, where the node that computes them states both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxspace.differences.child.sides import Side
from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import Graph

Array = NDArray[Any]
#: Where nodes have the scale and the zero point of their output.
_PLACES = {
    "QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QLinearAdd": (6, 7), "QLinearMul": (6, 7),
    "QGemm": (7, 8), "QLinearGlobalAveragePool": (3, 4), "QLinearAveragePool": (3, 4), "QLinearSigmoid": (3, 4),
    "QLinearLeakyRelu": (3, 4), "QLinearSoftmax": (3, 4), "QLinearReduceMean": (3, 4), "QLinearConcat": (0, 1),
}  # fmt: skip
#: Operators that pass integers on as they are.
_PASSING = frozenset({
    "Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "Slice", "Gather", "Relu", "Pad", "Concat", "Resize",
})  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """The step between two integers, and the integer that stands for 0."""

    step: float
    zero: float

    def decode(self, values: Array) -> Array:
        """The numbers that integers stand for."""
        return (values.astype(np.float32) - np.float32(self.zero)) * np.float32(self.step)

    def encode(self, numbers: Array, dtype: np.dtype[Any]) -> Array:
        """The integers of a type that stand for numbers; what is beyond its range gets its ends."""
        bounds = np.iinfo(dtype)
        return np.clip(np.round(numbers / self.step) + self.zero, bounds.min, bounds.max).astype(dtype)


def find_scales(graph: Graph) -> dict[str, Scale]:
    """The scales of tensors of integers that have a single one."""
    found: dict[str, Scale] = {}
    for node in graph.nodes:
        scale = _scale_of(graph, node, found)
        if scale is not None and node.output:
            found[node.output[0]] = scale
    return found


def _scale_of(graph: Graph, node: NodeProto, before: Mapping[str, Scale]) -> Scale | None:
    if node.op_type in _PASSING:
        return before.get(node.input[0]) if node.input else None
    places = _PLACES.get(node.op_type)
    if places is None or len(node.input) <= places[0]:
        return None
    step = evaluate(graph, node.input[places[0]], MOST_STEPS)
    zero = evaluate(graph, node.input[places[1]], MOST_STEPS) if len(node.input) > places[1] and node.input[places[1]] else None
    if step is None or step.size != 1 or not float(step.reshape(-1)[0]):
        return None
    return Scale(float(step.reshape(-1)[0]), 0.0 if zero is None or zero.size != 1 else float(zero.reshape(-1)[0]))


def find_output_step(side: Side, name: str, scales: Mapping[str, Scale]) -> float:
    """The step between two numbers of a tensor that are moved from integers; 0 where they are not."""
    for _ in range(MOST_STEPS):
        if name in scales or name not in side.graph.producer or not side.is_mover(side.graph.producer[name]):
            break
        name = side.graph.nodes[side.graph.producer[name]].input[0]
    return scales[name].step if name in scales else 0.0
