"""Copies of models in which another number than the sum of the encoder's units is explained: nodes are added behind it.

A linear readout does not care about the scale of a channel, or in which directions features are written. The sum of the units
does. `squares` sums squared units, `scaled` divides each channel by its standard deviation, and `whitened` sums squares along
directions of unit variance, which is the same for any invertible linear change of the channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

EXPLAINED = ("squares", "scaled", "whitened")
#: Directions of less variance than this share of the mean are no louder than noise.
RIDGE = 0.01


def flatten_channels(features: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Channels as columns, images and positions as rows."""
    found: NDArray[np.float64] = np.moveaxis(features, axis, -1).reshape(-1, features.shape[axis]).astype(np.float64)
    return found


def find_channel_axis(shape: tuple[int, ...]) -> int:
    """Of a batch at the encoder: 1 for [n, c, h, w], the last for [n, h, w, c], [n, tokens, c] and [n, c]."""
    return 1 if len(shape) == 4 and shape[2] == shape[3] else len(shape) - 1


def compute_scales(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / standard deviation of each channel, 0 for one that never varies: float64 [channels]."""
    spread = rows.std(axis=0)
    least = 1e-6 * max(float(spread.max()), 1e-30)
    found: NDArray[np.float64] = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > least)
    return found


def compute_whitening(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """W [channels, channels] with (rows − mean) W of unit covariance, but for the ridge."""
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    found: NDArray[np.float64] = vectors / np.sqrt(np.maximum(values, 0) + RIDGE * max(float(values.mean()), 1e-30))
    return found


def write_copy(source: Path, tensor: str, explained: str, features: NDArray[np.float32], into: Path) -> None:
    """A copy of `source` with the tensor `explained` behind the encoder's `tensor`, whose values on images are `features`."""
    axis = find_channel_axis(features.shape)
    rows = flatten_channels(features, axis)
    model = onnx.load(source)
    last = [tensor]
    order = [i for i in range(features.ndim) if i != axis] + [axis]
    _add_node(model, last, "Transpose", perm=order)
    if explained == "scaled":
        _add_node(model, last, "Mul", compute_scales(rows))
    elif explained == "whitened":
        _add_node(model, last, "Sub", rows.mean(axis=0))
        _add_node(model, last, "MatMul", compute_whitening(rows))
    if explained != "scaled":
        model.graph.node.append(helper.make_node("Mul", [last[0], last[0]], ["study_square"]))
        last[0] = "study_square"
    model.graph.node.append(helper.make_node("Identity", [last[0]], [explained]))
    model.graph.output.append(helper.make_tensor_value_info(explained, TensorProto.FLOAT, None))
    into.parent.mkdir(parents=True, exist_ok=True)
    partial = into.with_name(f".{into.name}.partial")
    onnx.save(model, partial)
    partial.replace(into)


def _add_node(
    model: onnx.ModelProto, last: list[str], operator: str, values: NDArray[np.float64] | None = None, perm: list[int] | None = None
) -> None:  # fmt: skip
    """One node more behind `last[0]`, which becomes its output."""
    name = f"study_{operator.lower()}"
    inputs = [last[0]]
    if values is not None:
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"{name}_values"))
        inputs.append(f"{name}_values")
    model.graph.node.append(helper.make_node(operator, inputs, [name], perm=perm))
    last[0] = name
