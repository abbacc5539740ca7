"""Encoders whose units add up to the same number for every image, as behind a LayerNormalization or a Softmax.

The gradient of such a sum is rounding noise, so the units' deviations from their mean are explained instead. Whether a sum is constant
is measured, not read from the graph: exporters write normalisations in many forms, and a scale per channel makes the sum vary again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.cut import cut
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.records import Encoder
from onnxspace.model.runtime import Runner, input_dtype
from onnxspace.model.shapes import refuse_large_tensors
from onnxspace.model.widening import widen

#: Largest spread of a sum over images, relative to that of its units, which counts as rounding. Measured: 2e-6 at most behind a
#: normalisation without a scale per channel; 6e-3 behind one whose scales vary by 1 %.
ROUNDING = 1e-4
#: A network is run on so many images, for some seconds each.
_IMAGES, _SECONDS = 3, 60.0
#: Operators of normalisations, whole and in parts.
_NORMALISING = frozenset(
    {"Softmax", "Div", "Reciprocal", "Pow", "Sqrt", "MeanVarianceNormalization", "LpNormalization", "Hardmax"}
)


def find_constant_sums(model: Model, tensors: Sequence[str]) -> tuple[str, ...]:
    """Find those of the `tensors` of a model whose units add up to the same number for every image.

    Only tensors behind a normalisation, with no trained node between, are computed. A tensor that can't be computed is not among
    those that are returned; converting its graph tells why.
    """
    normalised = [name for name in tensors if _is_normalised(model, name)]
    if not normalised:
        return ()
    try:
        found = _compute(model, normalised)
    except Exception:  # ONNX Runtime's errors share no base class
        return ()
    return tuple(name for name, values in zip(normalised, found, strict=True) if has_constant_sum(values))


def has_constant_sum(values: NDArray[Any]) -> bool:
    """Whether the units in `values` [images, …] have one sum for all images, although they differ themselves.

    >>> has_constant_sum(np.array([[1.0, 2.0, 3.0], [3.0, 3.0, 0.0]]))
    True
    """
    units = values.reshape(len(values), -1).astype(np.float64)
    spread = float(np.sqrt(units.var(axis=0).sum()))
    return bool(np.isfinite(spread) and spread > 0 and units.sum(axis=1).std() <= ROUNDING * spread)


def _is_normalised(model: Model, name: str) -> bool:
    graph = model.graph
    trained = {i for i in graph.ancestors_of([name]) if graph.is_parametric(i)}
    operators = {graph.nodes[i].op_type for i in graph.ancestors_of([name], but=trained)}
    return any(one in _NORMALISING or (one.endswith("Normalization") and one != "BatchNormalization") for one in operators)


def _compute(model: Model, tensors: Sequence[str]) -> list[NDArray[Any]]:
    """The values of `tensors` for images of noise: [images, …] each, in float32 and not quantised, whatever the model's precision."""
    part = cut(model, Encoder(tuple(tensors), ""))
    refuse_large_tensors(part.proto, {model.image.name: model.input_shape}, model.path)
    weights = dict(part.weights)
    widen(part.proto, weights)
    _drop_rounding(part.proto)
    runner = Runner(Network(part.proto, weights))
    images = _draw_images(model).astype(input_dtype(part.proto))
    rows = [runner({runner.input: images[i : i + 1].repeat(model.images_at_once, 0)}, _SECONDS) for i in range(len(images))]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _drop_rounding(proto: onnx.ModelProto) -> None:
    """Have activations that are quantised and converted back pass unchanged, in place."""
    rounded = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded:
            node.CopyFrom(onnx.helper.make_node("Identity", [rounded[node.input[0]]], list(node.output)))


def _draw_images(model: Model) -> NDArray[np.float32]:
    """Noise around a grey in the network's input, of growing contrast: [images, …]."""
    rng, given = np.random.default_rng(0), model.preprocess
    greys, contrasts = (
        np.linspace(*ends, _IMAGES).reshape(-1, *[1] * (len(model.input_shape) - 1)) for ends in ((96, 160), (10, 60))
    )
    noise = rng.standard_normal((_IMAGES, *model.input_shape[1:]))
    pixels = np.clip(greys + contrasts * noise, 0, 255)
    values: NDArray[np.float32] = ((pixels * given.scale - np.mean(given.mean)) / np.mean(given.std)).astype(np.float32)
    return values
