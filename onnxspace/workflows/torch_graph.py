"""A model of any source as a Torch graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from onnxspace.inputs.config import Config
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import to_torch as convert_to_torch
from onnxspace.workflows.requests import locate_model, named_as_given


def to_torch(model: Model | onnx.ModelProto | str | Path, inputs: Sequence[Any] | None = None) -> torch.fx.GraphModule:
    """Convert a model to a `torch.fx.GraphModule` in evaluation mode, with frozen parameters in single precision.

    An ONNX file is read, and its graph run, in this process: a hostile one may crash it or take all its memory, unlike in the
    commands and in functions such as `onnxspace.score`, which do so in a worker process with limits.

    `model` is an opened model, a ModelProto, the path of an `.onnx` file, or what `onnxspace convert` takes, such as `net.pt2` or
    `timm:resnet18`, which is converted to ONNX first, in a process with limits. `inputs` are example inputs for the verification,
    NumPy arrays in the order of the graph's inputs; None uses random values, which are unsuitable where an input is a size or a
    position.

    Returns a graph that is called with the model's inputs in order, and returns a tensor, or a tuple in output order. A batch
    axis fixed at one is opened where the graph allows it. The graph has been compared with ONNX Runtime.

    Raises UnsupportedOperatorError naming an operator without a converter and its node, ConversionError where the graph
    differs from ONNX Runtime, ModelError where the model can't be read, run or converted for any other reason.

    >>> graph = to_torch("model.onnx")  # doctest: +SKIP
    >>> graph(torch.zeros(1, 3, 224, 224)).shape  # doctest: +SKIP
    torch.Size([1, 1000])
    """
    if not isinstance(model, (str, Path)):
        return convert_to_torch(model, inputs)
    located = locate_model(Path(model), "", None, Config())
    with named_as_given(located):
        return convert_to_torch(located.file, inputs)
