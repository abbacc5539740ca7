"""What the first tensors of a network hold under each candidate for its pixels: means and variances per channel, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model.network import Network
from onnxspace.model.pixel_images import Values, draw_pixels, feed_preset, list_candidates
from onnxspace.model.pixel_parts import ImageNetwork, Tensor, count_images, plan_work
from onnxspace.model.runtime import Runner

_SECONDS = 60.0  # in all, where shape inference could not tell how much work it is


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and variance of each channel of a tensor over images and positions: float64 [channels]."""

    mean: Values
    variance: Values


class TimedRunner:
    """Runs a part of a graph for `_SECONDS` in all; called with a batch, it returns the outputs by name, or raises TimeoutError."""

    def __init__(self, part: Network) -> None:
        self._runner = Runner(part)
        self._names = [value.name for value in self._runner.session.get_outputs()]
        self._end = monotonic() + _SECONDS

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError
        return dict(zip(self._names, self._runner({self._runner.input: batch}, left), strict=True))


def measure_channels(model: ImageNetwork, tensors: Sequence[Tensor]) -> dict[str, dict[str, ChannelStatistics]]:
    """Measure the channels of `tensors` for natural images under each candidate: statistics by preset and tensor.

    The images are always the same, so the answer depends on the file alone. As many of the first tensors, and of up to eight images,
    are used as `MOST_WORK` multiply-adds allow. Raises ModelError for a graph with a tensor that is too large, ValueError where the
    tensors need another input, and ONNX Runtime's own errors.
    """
    part, images = plan_work(model, tensors)
    pixels = draw_pixels(model.preprocess, images)
    run = TimedRunner(part)
    return {
        name: _measure_candidate(model, run, feed_preset(model.preprocess, name).values(pixels), tensors)
        for name in list_candidates(model.preprocess)
    }


def measure_input(model: ImageNetwork) -> dict[str, ChannelStatistics]:
    """Measure the channels of the network's input for natural images under each candidate: statistics by preset."""
    pixels = draw_pixels(model.preprocess, count_images(model.preprocess))
    axis = 1 if model.preprocess.layout == "NCHW" else 3
    inputs = ((name, feed_preset(model.preprocess, name).values(pixels)) for name in list_candidates(model.preprocess))
    return {name: _to_statistics(*_sum_channels(values, axis)) for name, values in inputs}


def _measure_candidate(
    model: ImageNetwork, run: TimedRunner, values: NDArray[np.float32], tensors: Sequence[Tensor]
) -> dict[str, ChannelStatistics]:
    axes = {tensor.name: tensor.axis for tensor in tensors}
    sums: dict[str, Values] = {}
    for outputs in run_images(model, run, values):
        for name, value in outputs.items():
            sums[name] = sums.get(name, 0.0) + _sum_channels(value, axes[name])
    return {name: _to_statistics(*total) for name, total in sums.items()}


def run_images(model: ImageNetwork, run: TimedRunner, values: NDArray[np.float32]) -> Iterator[dict[str, NDArray[Any]]]:
    """The tensors for one image after the other; a fixed batch has copies of it."""
    for row in values.astype(onnx.helper.tensor_dtype_to_np_dtype(model.image.elem_type)):
        yield run(np.repeat(row[None], model.image.batch or 1, axis=0))


def _sum_channels(value: NDArray[Any], axis: int) -> Values:
    """Number, sum and sum of squares per channel: float64 [3, channels]."""
    sums = [_sum_one(channel) for channel in np.moveaxis(value, axis, 0)]  # one by one: a copy in float64 may be large
    return np.array(sums, np.float64).T


def _sum_one(channel: NDArray[Any]) -> tuple[float, float, float]:
    squares = np.square(channel, dtype=np.float64)  # no dot product: its threads wait for each other on a busy machine
    return float(channel.size), float(channel.sum(dtype=np.float64)), float(squares.sum())


def _to_statistics(count: Values, total: Values, squares: Values) -> ChannelStatistics:
    mean = total / count
    return ChannelStatistics(mean, np.maximum(squares / count - mean * mean, 0.0))
