"""ONNX → differentiable Torch graph: normalise, convert, verify."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.convert import bridge
from onnxspace.convert.fuse import fuse_activations
from onnxspace.convert.normalise import normalise
from onnxspace.convert.verify import TOLERANCE, reference, verify
from onnxspace.cut import Encoder, cut, find_encoder
from onnxspace.errors import UnsupportedOperatorError
from onnxspace.model import Model, open_model

_HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


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
    """Cut `model` at its encoder, convert the part below and verify it on `images` (uint8 [images, size, size, 3])."""
    encoder = encoder or find_encoder(model)
    part = cut(model, encoder)
    _refuse_unknown(model, part)
    values = model.preprocess(images)
    expected = reference(part, values, model.path, optimise=not _is_quantised(part))
    graph = _graph_of(part, model.input_shape, model.path)
    batchable = verify(graph, expected, values, _tolerance(part), model.path)
    return Converted(graph, encoder, batchable, _activation_bytes(graph, torch.from_numpy(values[:1])))


def _refuse_unknown(model: Model, part: onnx.ModelProto) -> None:
    """Operators outside the standard are refused by their own names, before anything tries to run them."""
    reason = bridge.unknown_operator(part)
    if reason:
        raise UnsupportedOperatorError(f"{model.path}: {reason}. Name an --encoder below it, or export the model without it.")


def _graph_of(part: onnx.ModelProto, shape: tuple[int, ...], path: str) -> torch.fx.GraphModule:
    normal = normalise(part, shape)
    reason = bridge.unsupported(normal)
    if reason:
        raise UnsupportedOperatorError(f"{path}: {reason}. Name an --encoder below it.")
    return fuse_activations(bridge.convert(normal, path))


def _tolerance(part: onnx.ModelProto) -> float:
    if _is_quantised(part):
        return TOLERANCE["quantised"]
    types = {tensor.data_type for tensor in part.graph.initializer}
    return TOLERANCE["half" if types & _HALVES else "float32"]


def _is_quantised(part: onnx.ModelProto) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in part.graph.node)


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


def to_torch(model: Model | onnx.ModelProto | str | Path) -> torch.fx.GraphModule:
    """The whole of an ONNX model as a `torch.fx.GraphModule`: evaluation mode, frozen parameters.

    Called with one image batch in the model's own layout; returns a tensor, or a tuple in output order. The result is
    checked against ONNX Runtime on random input. Raises UnsupportedOperatorError and ConversionError.
    """
    opened = model if isinstance(model, Model) else _opened(model)
    whole = Encoder(tuple(v.name for v in opened.proto.graph.output), "the model's outputs")
    part = cut(opened, whole)
    _refuse_unknown(opened, part)
    graph = _graph_of(part, opened.input_shape, opened.path)
    values = np.random.default_rng(0).standard_normal((2, *opened.input_shape[1:])).astype(np.float32)
    verify(graph, reference(part, values, opened.path, optimise=not _is_quantised(part)), values, _tolerance(part), opened.path)
    return graph


def _opened(source: Any) -> Model:
    return open_model(source)
