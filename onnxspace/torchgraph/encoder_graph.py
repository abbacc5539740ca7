"""From an ONNX model to a differentiable Torch graph of its encoder: normalise, convert, verify."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.encoder import Encoder, cut, find_encoder
from onnxspace.model.group_axes import measure_axes
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.rewritten import check_model
from onnxspace.model.shapes import count_elements, infer_shapes, refuse_large_tensors
from onnxspace.sandbox.memory import count_free_memory, return_blocks
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph import operators
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.canonical import canonicalise_verified
from onnxspace.torchgraph.host_values import fold_sizes
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.verify import Reference, allow_noise, compute_reference, outputs_of, tolerance, verify
from onnxspace.torchgraph.whole_model import to_torch

__all__ = ["EncoderGraph", "convert", "operators", "to_torch"]


@dataclass(frozen=True)
class EncoderGraph:
    """A model's graph up to its encoder, as Torch, verified against ONNX Runtime.

    `batchable` is False where the graph is correct only for one image at a time; `bytes_per_image` is the size of all its
    activations for one image. `image_axes` are the axes on which its outputs have the images where the graph takes N at a time; else
    it is empty, and that is the first axis.
    """

    graph: torch.fx.GraphModule
    encoder: Encoder
    batchable: bool
    bytes_per_image: int
    image_axes: tuple[int, ...] = ()


@return_blocks()
def convert(model: Model, images: NDArray[np.uint8], encoder: Encoder | None = None) -> EncoderGraph:
    """Cut `model` at its encoder, convert the part below and verify it on `images` (uint8 [images, size, size, 3]).

    `encoder` defaults to the one that `find_encoder` finds. A single image is verified together with its vertical mirror
    image, because a graph that is correct for one image need not be for a batch. A graph that takes N images at a time is verified on
    N, which are varied where there are fewer.

    Returns the verified graph. Raises UnsupportedOperatorError naming an operator without a converter, ConversionError where
    the graph differs from ONNX Runtime, AttributionError where the encoder is not finite, ModelError where the model can't
    be run.
    """
    encoder = encoder or find_encoder(model)
    part = cut(model, encoder)
    bridge.refuse_unknown(part.proto, model.path)
    refuse_large_tensors(part.proto, {model.image.name: model.input_shape}, model.path)
    check_model(model, images)
    values, at_once = model.preprocess(_vary(images, max(2, model.images_at_once))), model.images_at_once
    expected = compute_reference(part, values, model.path, model.advice, at_once)
    name = part.proto.graph.input[0].name
    normal = normalise(part, {name: model.input_shape}, batched=name if model.group is None else None)
    feeds = [{name: values[i : i + at_once].astype(runtime.input_dtype(part))} for i in range(0, max(2, at_once), at_once)]
    graph = build(normal, model.path)
    complete = canonicalise_verified(graph, part, normal, feeds[0], model.path)
    if model.group is None:
        fold_sizes(graph, model.input_shape)
    widen = partial(allow_noise, part, feeds, expected, complete=complete)
    together = at_once == len(values) or _has_room(normal, model, len(values))
    reference = Reference(values, expected, at_once, together)
    batchable = verify(graph, reference, tolerance(part.proto), model.path, widen)
    size = _activation_bytes(graph, torch.from_numpy(values[:at_once]))
    if model.group is None:
        return EncoderGraph(graph, encoder, batchable, size)
    axes = measure_axes(model, partial(_run_graph, graph), encoder.tensors)
    return EncoderGraph(graph, encoder, batchable, size if model.group.mixed else -(-size // at_once), axes)


def _has_room(normal: Network, model: Model, images: int) -> bool:
    """Whether all activations of so many images are no more than the memory that is left; they are not all held at a time."""
    shapes = infer_shapes(normal.proto, {model.image.name: model.input_shape})
    computed = (shapes[name][0] for node in normal.graph.nodes for name in node.output if name in shapes)
    return 4 * images * sum(count_elements(shape) or 0 for shape in computed) <= count_free_memory()


def _vary(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The first `count` of images [images, size, size, bands]; where there are fewer, also mirrored and shifted ones."""
    if len(images) >= count:
        return images[:count] if count > 2 else images
    rounds = [np.roll(images[:, :: 1 - 2 * (k % 2)], 5 * (k // 2), axis=2) for k in range(-(-count // len(images)))]
    return np.concatenate(rounds)[:count]


def _run_graph(graph: torch.fx.GraphModule, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    with torch.no_grad():
        return [output.float().numpy() for output in outputs_of(graph, torch.from_numpy(values))]


def _activation_bytes(graph: torch.fx.GraphModule, image: torch.Tensor) -> int:
    """Bytes of every module's output for `image`, or for as many images as the graph takes at a time."""
    sizes: list[int] = []

    def record(_module: torch.nn.Module, _args: object, output: object) -> None:
        outputs = output if isinstance(output, (tuple, list)) else (output,)
        sizes.extend(t.numel() * t.element_size() for t in outputs if isinstance(t, torch.Tensor))

    hooks = [module.register_forward_hook(record) for module in graph.children()]
    with torch.no_grad():
        graph(image)
    for hook in hooks:
        hook.remove()
    return sum(sizes)
