"""The shapes of a few tensors for one image, measured where ONNX's inference can't tell them."""

from __future__ import annotations

from collections.abc import Sequence

from onnxspace.errors import ModelError, quote_message
from onnxspace.model.cut import cut
from onnxspace.model.image_groups import shape_of_one
from onnxspace.model.model import Model
from onnxspace.model.records import Encoder
from onnxspace.model.runtime import shapes_of
from onnxspace.model.shapes import Shape


def measure_tensors(model: Model, tensors: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `tensors`, which depend on the image, for one image, by one run on an image of zeros.

    Raises ModelError where ONNX Runtime can't run the graph.
    """
    try:
        found = shapes_of(cut(model, Encoder(tuple(tensors), "")), tensors, model.input_shape)
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{model.path} can't be run by ONNX Runtime ({quote_message(error)}). {model.advice}") from error
    return {name: tuple(n or 0 for n in _take_one(shape, model.images_at_once)) for name, shape in found.items()}


def _take_one(shape: tuple[int, ...], size: int) -> Shape:
    return shape if size == 1 else shape_of_one(shape, size)
