"""ONNX → differentiable Torch graph: normalise, convert, verify."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.encoder import Encoder, cut, find_encoder
from onnxspace.model.model import Model
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph import operators
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.passes.canonicalise import fuse
from onnxspace.torchgraph.verify import reference, tolerance, verify
from onnxspace.torchgraph.verify_nodes import every_node_agrees, first_departure
from onnxspace.torchgraph.whole_model import to_torch

__all__ = ["Converted", "convert", "operators", "to_torch"]


@dataclass(frozen=True)
class Converted:
    """A model's graph up to its encoder, as Torch, checked against ONNX Runtime.

    `batchable` is False where the graph is right for one image at a time only; `bytes_per_image` is the size of all its
    activations for one image.
    """

    graph: torch.fx.GraphModule
    encoder: Encoder
    batchable: bool
    bytes_per_image: int


def convert(model: Model, images: NDArray[np.uint8], encoder: Encoder | None = None) -> Converted:
    """Cut `model` at its encoder, convert the part below and verify it on `images` (uint8 [images, size, size, 3]).

    One image is verified together with itself upside down: what holds for one need not hold for a batch.
    """
    encoder = encoder or find_encoder(model)
    part = cut(model, encoder)
    bridge.refuse_unknown(part.proto, model.path)
    values = model.preprocess(images if len(images) > 1 else np.concatenate([images, images[:, ::-1]]))
    expected = reference(part, values, model.path)
    name, allowed = part.proto.graph.input[0].name, tolerance(part.proto)
    normal = normalise(part, {name: model.input_shape}, batched=name)
    graph = fuse(build(normal, model.path))
    doubt = (part, normal, {name: values[:1].astype(runtime.input_dtype(part))}, allowed)
    judge, locate = partial(every_node_agrees, *doubt), partial(first_departure, *doubt)
    batchable = verify(graph, expected, values, allowed, model.path, judge, locate)
    return Converted(graph, encoder, batchable, _activation_bytes(graph, torch.from_numpy(values[:1])))


def _activation_bytes(graph: torch.fx.GraphModule, image: torch.Tensor) -> int:
    """Bytes of every module's output for one image."""
    sizes: list[int] = []

    def note(_module: torch.nn.Module, _args: object, output: object) -> None:
        made = output if isinstance(output, (tuple, list)) else (output,)
        sizes.extend(t.numel() * t.element_size() for t in made if isinstance(t, torch.Tensor))

    hooks = [module.register_forward_hook(note) for module in graph.children()]
    with torch.no_grad():
        graph(image)
    for hook in hooks:
        hook.remove()
    return sum(sizes)
