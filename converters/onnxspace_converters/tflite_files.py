"""Read TFLite files with LiteRT's interpreter: tensors, quantisation, preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxspace.errors import ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace_converters.files import describe_error, require_file
from onnxspace_converters.tflite_rewrite import replace_custom, write_out_sparse

if TYPE_CHECKING:
    from onnxspace_converters.loaded_network import Array

_MAGIC = b"TFL3"
_MAX = 2**31 - 1
_AGAIN = "Convert or copy it again."


@dataclass(frozen=True)
class Quantisation:
    """The quantisation of a tensor: a stored number q stands for (q − `zero`) · `scale`; `scale` is 0 for none."""

    scale: float
    zero: int
    dtype: Any

    def store(self, values: Array) -> Array:
        """Quantise real values, rounding halves to even as ONNX does."""
        limits = np.iinfo(self.dtype)
        stored: Array = np.clip(np.rint(values / np.float32(self.scale)) + self.zero, limits.min, limits.max)
        return stored.astype(self.dtype)

    def real(self, values: Array) -> Array:
        """Dequantise stored values to float32."""
        return ((values.astype(np.int32) - self.zero) * np.float32(self.scale)).astype(np.float32)

    @property
    def quantised(self) -> bool:
        return self.scale > 0


def read_content(path: Path) -> bytes:
    """Read a TFLite file's bytes. Raises ModelError for any other file."""
    require_file(path, "")
    if path.stat().st_size > _MAX:
        raise ModelError(f"{path} is larger than a TFLite file can be (2 GiB). {_AGAIN}")
    found = path.read_bytes()
    if found[4:8] != _MAGIC:
        raise ModelError(f"{path} is not a TFLite file. {_AGAIN}")
    return found


class TFLiteNetwork:
    """A TFLite network in LiteRT's interpreter, with its own reference kernels."""

    def __init__(self, found: bytes, path: Path) -> None:
        from onnxspace_converters.tensorflow_stub import install_stub

        install_stub()
        self.bytes, self.path = replace_custom(found, path), path
        self.interpreter = self._interpreter()
        inputs = self.interpreter.get_input_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4:
            sizes = ", ".join("×".join(map(str, each["shape"])) for each in inputs)
            raise ModelError(f"{path} takes {sizes or 'no input'}, but must take one batch of images. Convert it again so.")
        self.input: dict[str, Any] = inputs[0]
        self.step = quantisation_of(self.input)
        self.shape = tuple(int(size) for size in self.input["shape"][1:])

    def _interpreter(self, *, all_tensors: bool = False) -> Any:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        try:
            return Interpreter(
                model_content=self.bytes, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=all_tensors, num_threads=1,
            )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path} can't be read as a TFLite file ({describe_error(error)}). {_AGAIN}") from error

    @property
    def batch(self) -> int | None:
        """The only batch size that it takes, None where it takes any."""
        if int(self.input.get("shape_signature", self.input["shape"])[0]) != -1:
            return int(self.input["shape"][0])
        try:
            self(np.zeros((2, *self.shape), self.dtype))
        except (ValueError, RuntimeError):  # its batch is declared open, but is not
            return 1
        return None

    @property
    def dtype(self) -> Any:
        """The input's type in the exported file: float32 where it is quantised, else the type in the file."""
        return np.dtype(np.float32 if self.step.quantised else self.input["dtype"])

    def __call__(self, images: Array) -> list[Array]:
        self._run(self.interpreter, images)
        return [_read_value(self.interpreter, each) for each in self.interpreter.get_output_details()]

    def _run(self, interpreter: Any, images: Array) -> None:
        values = self.step.store(images) if self.step.quantised else images
        if tuple(interpreter.get_input_details()[0]["shape"]) != values.shape:
            interpreter.resize_tensor_input(self.input["index"], values.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(self.input["index"], np.ascontiguousarray(values))
        interpreter.invoke()

    def layers(self, images: Array) -> Iterator[tuple[str, Array]]:
        """The output of each operator, in the order of the file."""
        interpreter = self._interpreter(all_tensors=True)
        self._run(interpreter, images)
        details = {each["index"]: each for each in interpreter.get_tensor_details()}
        for index in _outputs_of_operators(self.bytes):
            if index in details and len(details[index]["shape"]) > 1:
                yield details[index]["name"], _read_value(interpreter, details[index])

    def written_out(self) -> bytes:
        """The file with sparse weights written out, which LiteRT does when it runs it. Raises ModelError."""
        return write_out_sparse(self.bytes, self._compute_tensor, self.path)

    def _compute_tensor(self, index: int) -> Array:
        interpreter = self._interpreter(all_tensors=True)
        self._run(interpreter, np.zeros((self.batch or 1, *self.shape), self.dtype))
        found: Array = interpreter.get_tensor(index)
        return found

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the output tensors, in the order of the interpreter."""
        return [each["name"] for each in self.interpreter.get_output_details()]


def _read_value(interpreter: Any, detail: dict[str, Any]) -> Array:
    value: Array = interpreter.get_tensor(detail["index"])
    found = quantisation_of(detail)
    return found.real(value) if found.quantised else value


def quantisation_of(detail: dict[str, Any]) -> Quantisation:
    """The quantisation of the tensor that `detail` of the interpreter describes."""
    scale, zero = detail["quantization"]
    whole = np.issubdtype(detail["dtype"], np.integer)
    return Quantisation(float(scale) if whole else 0.0, int(zero), detail["dtype"])


def _outputs_of_operators(found: bytes) -> Iterator[int]:
    from tf2onnx.tflite.Model import Model

    graph = Model.GetRootAsModel(bytearray(found), 0).Subgraphs(0)
    for k in range(graph.OperatorsLength()):
        operator = graph.Operators(k)
        yield from (operator.Outputs(i) for i in range(operator.OutputsLength()))


def image_options(network: TFLiteNetwork) -> ModelOptions:
    """The preprocessing options that the file's metadata and quantisation state."""
    from onnxspace_converters.tflite_metadata import read_normalization

    height, width, channels = network.shape
    own = ModelOptions(size=(height, width), layout="NHWC", color="GREY" if channels == 1 else "RGB")
    if network.step.quantised:  # a pixel of 0–255 is used as a stored number
        low = np.iinfo(network.step.dtype).min
        mean = (network.step.zero - int(low)) * network.step.scale
        return ModelOptions(scale=network.step.scale, mean=(mean,), std=(1.0,)).over(own)
    numbers = read_normalization(network.bytes)
    if numbers is None or any(len(each) not in (1, channels) for each in numbers):
        return own
    return ModelOptions(scale=1.0, mean=numbers[0], std=numbers[1]).over(own)
