"""What the first tensors of a network hold under each candidate for its pixels: means and variances per channel, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.pixel_presets import PRESETS, PixelPreset
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.graph import names_read_by
from onnxspace.model.image_input import ImageInput
from onnxspace.model.network import Network
from onnxspace.model.pixel_images import draw_natural_images
from onnxspace.model.runtime import Runner
from onnxspace.model.shapes import infer_shapes, multiply_adds, refuse_large_tensors

#: Presets that are compared: `clip` differs too little from `imagenet` to be told from it, and the others are aliases.
CANDIDATES = ("symmetric", "unit", "byte", "imagenet", "imagenet-bgr-mean")
MOST_IMAGES, LARGEST_SIDE = 8, 256
#: Multiply-adds for all images and candidates together: some ten seconds of one core.
MOST_WORK = 2**34
_SECONDS = 60.0  # for one image, where inference could not tell how much work it is

Values = NDArray[np.float64]


class ImageNetwork(Protocol):
    """What is measured: a graph, the input that takes the image, and how images get their size; `Model` is one."""

    @property
    def network(self) -> Network: ...

    @property
    def image(self) -> ImageInput: ...

    @property
    def preprocess(self) -> Preprocess: ...


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and variance of each channel of a tensor over images and positions: float64 [channels]."""

    mean: Values
    variance: Values


@dataclass(frozen=True)
class Tensor:
    """A tensor to be measured: its name, and the axis of its channels."""

    name: str
    axis: int = 1


def list_candidates(preprocess: Preprocess) -> tuple[str, ...]:
    """Names of the presets that a network may have been trained with: those with a mean per channel are for three channels."""
    return tuple(name for name in CANDIDATES if len(PRESETS[name].mean) in (1, preprocess.channels))


def feed_preset(preprocess: Preprocess, name: str) -> Preprocess:
    """The same size, layout and colours with the values of the preset `name`, in the order of the network's colours."""
    preset = PRESETS[name]
    mean, std = (_reorder(values, preset, preprocess) for values in (preset.mean, preset.std))
    return replace(preprocess, scale=preset.scale, mean=mean, std=std)


def _reorder(values: tuple[float, ...], preset: PixelPreset, preprocess: Preprocess) -> tuple[float, ...]:
    return values[::-1] if {preset.color, preprocess.color} == {"RGB", "BGR"} else values


def measure_channels(model: ImageNetwork, tensors: Sequence[Tensor]) -> dict[str, dict[str, ChannelStatistics]]:
    """Measure the channels of `tensors` for natural images under each candidate: statistics by preset and tensor.

    The images are always the same, so the answer depends on the file alone. As many of the first tensors, and of up to eight images,
    are used as `MOST_WORK` multiply-adds allow. Raises ModelError for a graph with a tensor that is too large, ValueError where the
    tensors need another input, and ONNX Runtime's own errors.
    """
    part, images = _plan_work(model, tensors)
    pixels = model.preprocess.pixels(draw_natural_images(images, _fit_side(model.preprocess)))
    runner = Runner(part)
    return {
        name: _measure_candidate(model, runner, feed_preset(model.preprocess, name).values(pixels), tensors)
        for name in list_candidates(model.preprocess)
    }


def measure_input(model: ImageNetwork) -> dict[str, ChannelStatistics]:
    """Measure the channels of the network's input for natural images under each candidate: statistics by preset."""
    pixels = model.preprocess.pixels(draw_natural_images(MOST_IMAGES, _fit_side(model.preprocess)))
    axis = 1 if model.preprocess.layout == "NCHW" else 3
    inputs = ((name, feed_preset(model.preprocess, name).values(pixels)) for name in list_candidates(model.preprocess))
    return {name: _to_statistics(*_sum_channels(values, axis)) for name, values in inputs}


def _fit_side(preprocess: Preprocess) -> int:
    return max(16, min(LARGEST_SIDE, max(preprocess.height, preprocess.width)))


def _plan_work(model: ImageNetwork, tensors: Sequence[Tensor]) -> tuple[Network, int]:
    """The part of the graph below as many of the first tensors as can be computed, and the number of images."""
    for count in range(len(tensors), 0, -1):
        part = extract_part(model, [tensor.name for tensor in tensors[:count]])
        images = MOST_WORK // (_count_work(model, part) * len(CANDIDATES))
        if images or count == 1:
            break
    refuse_large_tensors(part.proto, {model.image.name: _shape_of_input(model)}, "the graph")
    if not images:
        raise ValueError("the first layer alone takes too long")
    return part, min(MOST_IMAGES, images)


def _count_work(model: ImageNetwork, part: Network) -> int:
    shapes = infer_shapes(part.proto, {model.image.name: _shape_of_input(model)})
    return max(1, sum(multiply_adds(part.graph, shapes).values()))


def _shape_of_input(model: ImageNetwork) -> tuple[int, ...]:
    p, batch = model.preprocess, model.image.batch or 1
    return (batch, p.channels, p.height, p.width) if p.layout == "NCHW" else (batch, p.height, p.width, p.channels)


def extract_part(model: ImageNetwork, tensors: Sequence[str]) -> Network:
    """Extract the graph from the image to `tensors`, which become its outputs. Raises ValueError where it needs another input."""
    graph, source = model.network.graph, model.network.proto
    nodes = [graph.nodes[i] for i in sorted(graph.ancestors_of(tensors))]
    needed = {name for node in nodes for name in names_read_by(node)}
    if others := {v.name for v in graph.inputs if v.name in needed} - {model.image.name}:
        raise ValueError(f"they need the inputs {', '.join(sorted(others))}")
    part = onnx.ModelProto(ir_version=max(source.ir_version, 4), opset_import=source.opset_import)
    part.graph.name = "part"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in source.graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(t for t in source.graph.sparse_initializer if t.values.name in needed)
    part.graph.input.extend(v for v in source.graph.input if v.name == model.image.name)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return Network(part, {name: values for name, values in model.network.weights.items() if name in needed})


def _measure_candidate(
    model: ImageNetwork, runner: Runner, values: NDArray[np.float32], tensors: Sequence[Tensor]
) -> dict[str, ChannelStatistics]:
    axes = {tensor.name: tensor.axis for tensor in tensors}
    sums: dict[str, Values] = {}
    for outputs in _run_images(model, runner, values):
        for name, value in outputs.items():
            sums[name] = sums.get(name, 0.0) + _sum_channels(value, axes[name])
    return {name: _to_statistics(*total) for name, total in sums.items()}


def _run_images(model: ImageNetwork, runner: Runner, values: NDArray[np.float32]) -> Iterator[dict[str, NDArray[Any]]]:
    """The tensors for one image after the other; a fixed batch has copies of it."""
    names = [value.name for value in runner.session.get_outputs()]
    for row in values.astype(onnx.helper.tensor_dtype_to_np_dtype(model.image.elem_type)):
        batch = np.repeat(row[None], model.image.batch or 1, axis=0)
        yield dict(zip(names, runner({runner.input: batch}, _SECONDS), strict=True))


def _sum_channels(value: NDArray[Any], axis: int) -> Values:
    """Number, sum and sum of squares per channel: float64 [3, channels]."""
    rows = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis]).astype(np.float64)
    return np.stack([np.full(rows.shape[1], float(len(rows))), rows.sum(axis=0), (rows * rows).sum(axis=0)])


def _to_statistics(count: Values, total: Values, squares: Values) -> ChannelStatistics:
    mean = total / count
    return ChannelStatistics(mean, np.maximum(squares / count - mean * mean, 0.0))
