"""Networks with faults, and verdicts on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import check
from onnxspace.checking.verdict import Verdict
from tests.helpers.nets import Net

IMAGES = 6


def network(seed: int = 0, width: int = 12) -> onnx.ModelProto:
    """Three convolutions and a dense layer over 32 × 32 pixels."""
    net = Net(("N", 3, 32, 32), seed)
    x = "image"
    for before, after in ((3, width), (width, 16), (16, 16)):
        bias = net.weight(net.rng.standard_normal(after) * 0.3)
        conv = net.add("Conv", x, net.random(after, before, 3, 3), bias, pads=[1, 1, 1, 1], strides=[2, 2])
        x = net.add("Relu", conv)
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(net.add("Relu", net.dense(x, 16, 8)), 8, 5)])


def changed(model: onnx.ModelProto, change: Callable[[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> onnx.ModelProto:
    """A copy with other weights."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(change(tensor.name, values).astype(values.dtype)), tensor.name)
        )
    return made


def verdict(path: str, against: str = "old.onnx", **options: Any) -> Verdict:
    """Of one artifact on a few images."""
    limits, distinct = options.pop("limits", {}), options.pop("distinct", False)
    return check(CheckPlan(artifacts_against([path], against, limits, distinct, None), images=IMAGES), **options)[0]


def shuffled(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if name != "w3":  # the second convolution's weights
        return values
    return np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)


def swapped(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[:, ::-1] if name == "w1" else values


def tuned(_name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values + 0.2 * values.std() * np.random.default_rng(values.size).standard_normal(values.shape)
