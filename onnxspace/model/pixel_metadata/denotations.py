"""ONNX's denotations: which input is an image, and which of its axes holds the channels.

The standard: https://github.com/onnx/onnx/blob/main/docs/TypeDenotation.md and DimensionDenotation.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Layout

_IMAGE, _CHANNEL = "IMAGE", "DATA_CHANNEL"
_LAYOUTS: dict[int, Layout] = {1: "NCHW", 3: "NHWC"}


def read_denotations(inputs: Sequence[onnx.ValueInfoProto], wanted: str | None) -> ModelOptions:
    """The options `input` and `layout` that denotations of the graph's inputs state; `wanted` is the input that the user named.

    An input is only chosen where there are several, one of which is an image.
    """
    images = [value for value in inputs if value.type.denotation == _IMAGE]
    named = [value for value in inputs if value.name == wanted] or (images if len(images) == 1 else list(inputs))
    if len(named) != 1:
        return ModelOptions()
    chosen = named[0].name if len(inputs) > 1 and named == images else None
    axes = [axis for axis, dim in enumerate(named[0].type.tensor_type.shape.dim) if dim.denotation == _CHANNEL]
    four = len(named[0].type.tensor_type.shape.dim) == 4
    return ModelOptions(input=chosen, layout=_LAYOUTS.get(axes[0]) if four and len(axes) == 1 else None)
