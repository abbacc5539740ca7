"""Write a network in other forms: conversions that are not meant to change what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.errors import ModelError, quote_message
from onnxspace.model.model import Model
from onnxspace.model.network import embed_weights
from onnxspace.model.runtime import import_onnxruntime, input_dtype, make_session_options

#: Number of images that calibrate the ranges of an int8 model.
_CALIBRATED = 32
#: Operators whose scales are single precision before opset 19.
_SINGLE = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def write_form(form: str, model: Model, images: NDArray[np.uint8], target: Path) -> None:
    """Write `model` to `target` in a form of FORMS; `images` uint8 [images, size, size, 3] calibrate int8.

    Raises ModelError.
    """
    try:
        FORMS[form](model, images, target)
    except Exception as error:  # other libraries' converters raise exceptions of any type
        raise ModelError(f"{model.path} can't be written as {form} ({quote_message(error)}).") from error


def _write_next_opset(model: Model, _images: NDArray[np.uint8], target: Path) -> None:
    """Write it at the next version of the operator set."""
    onnx.save(onnx.version_converter.convert_version(embed_weights(model.network), model.opset + 1), target)


def _write_optimised(model: Model, _images: NDArray[np.uint8], target: Path) -> None:
    """Write the graph that ONNX Runtime optimises before it runs it."""
    save_optimised(model, target, "ORT_ENABLE_EXTENDED")


def save_optimised(model: Model, target: Path, level: str) -> None:
    """Write the graph that ONNX Runtime makes at a `level` of its `GraphOptimizationLevel`."""
    library = import_onnxruntime()
    options = make_session_options(optimise=True)
    options.graph_optimization_level = getattr(library.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    library.InferenceSession(embed_weights(model.network).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _write_half(model: Model, _images: NDArray[np.uint8], target: Path) -> None:
    """Write it with weights and arithmetic in half precision, and inputs and outputs as they were."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, *_SINGLE]
    onnx.save(convert_float_to_float16(embed_weights(model.network), keep_io_types=True, op_block_list=kept), target)


def _write_int8(model: Model, images: NDArray[np.uint8], target: Path) -> None:
    """Quantise it statically with ONNX Runtime, calibrated on probe images."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    source = target.with_suffix(".float.onnx")
    onnx.save(embed_weights(model.network), source)
    try:
        quantize_static(
            source, target, _CalibrationReader(model, images[:_CALIBRATED]), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        source.unlink()


class _CalibrationReader:
    """Calibration images one by one, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, model: Model, images: NDArray[np.uint8]) -> None:
        kind = input_dtype(model.network)
        self._feeds: Iterator[dict[str, Any]] = (
            {model.image.name: model.preprocess(images[i : i + 1]).repeat(model.images_at_once, 0).astype(kind)}
            for i in range(len(images))
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._feeds


FORMS: Mapping[str, Callable[[Model, NDArray[np.uint8], Path], None]] = {
    "opset": _write_next_opset,
    "optimised": _write_optimised,
    "half": _write_half,
    "int8": _write_int8,
}
