"""The same network in other forms: what a team does to an artifact without meaning to change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.errors import ModelError
from onnxspace.model.model import Model
from onnxspace.model.network import whole
from onnxspace.model.runtime import input_dtype, quiet_library

#: Images from which the ranges of an int8 model are taken.
_CALIBRATED = 32
#: Operators whose scales are single precision before opset 19.
_SINGLE = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def make(form: str, model: Model, images: NDArray[np.uint8], target: Path) -> None:
    """Write `model` in a form of FORMS to `target`. Raises ModelError where it can't be had."""
    try:
        FORMS[form](model, images, target)
    except Exception as error:  # converters of other libraries fail in ways of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{model.path} can't be written as {form} ({reason}).") from error


def _opset(model: Model, _images: NDArray[np.uint8], target: Path) -> None:
    """The next version of the operator set."""
    onnx.save(onnx.version_converter.convert_version(whole(model.network), model.opset + 1), target)


def _optimised(model: Model, _images: NDArray[np.uint8], target: Path) -> None:
    """What ONNX Runtime makes of it before it runs it."""
    library = quiet_library()
    options = library.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    library.InferenceSession(whole(model.network).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _half(model: Model, _images: NDArray[np.uint8], target: Path) -> None:
    """Weights and arithmetic in half precision, inputs and outputs as they were."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, *_SINGLE]
    onnx.save(convert_float_to_float16(whole(model.network), keep_io_types=True, op_block_list=kept), target)


def _int8(model: Model, images: NDArray[np.uint8], target: Path) -> None:
    """Static quantisation by ONNX Runtime, ranges from probe images."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    source = target.with_suffix(".float.onnx")
    onnx.save(whole(model.network), source)
    try:
        quantize_static(
            source, target, _Reader(model, images[:_CALIBRATED]), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        source.unlink()


class _Reader:
    """Images one by one, as the quantiser asks for them."""

    def __init__(self, model: Model, images: NDArray[np.uint8]) -> None:
        kind = input_dtype(model.network)
        self._feeds: Iterator[dict[str, Any]] = (
            {model.image.name: model.preprocess(images[i : i + 1]).astype(kind)} for i in range(len(images))
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._feeds


FORMS: Mapping[str, Callable[[Model, NDArray[np.uint8], Path], None]] = {
    "opset": _opset,
    "optimised": _optimised,
    "half": _half,
    "int8": _int8,
}
