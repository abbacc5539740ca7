"""TFLite: `.tflite` files in float and quantised form, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source

if TYPE_CHECKING:
    import onnx

    from onnxspace_converters.loaded_network import LoadedNetwork
    from onnxspace_converters.tflite_files import TFLiteNetwork

#: Tolerance of quantised networks: LiteRT's kernels and ONNX round integers at other places, so that layers differ by a step.
_STEPS = 0.03
#: Smallest and largest tolerance of networks of real numbers; a fault in one operator shows as more than the latter.
_ROUNDING = 1e-5, 1e-3


def accepts(source: Source) -> bool:
    """Whether this is a file with a suffix of TFLite."""
    return source.path.suffix.lower() in (".tflite", ".lite") and not source.is_callable


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a TFLite file. Raises ModelError and its subclasses."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load the network of a file, with floating-point inputs and outputs. Raises ModelError, ConfigError."""
    import numpy as np

    from onnxspace_converters.files import hash_files
    from onnxspace_converters.loaded_network import LoadedNetwork, Route
    from onnxspace_converters.tflite_files import TFLiteNetwork, image_options, read_content

    network = TFLiteNetwork(read_content(source.path), source.path)
    _check_shape(source, request.input, network.shape)
    whole = is_quantised(network)
    route = Route("tf2onnx", lambda opset, _dynamic: _export_network(network, opset), range(13, 19), 17)
    return LoadedNetwork(
        "TFLite", ("ai-edge-litert", "tf2onnx", "onnx"), network.shape, network, [route], image_options(network), layers=network.layers,
        batch=_fixed_batch(network), dtype=np.dtype(network.dtype), sha256=hash_files([source.path]),
        tolerance=_STEPS if whole else measure_rounding(network),
        remarks=("it is quantised: outputs may differ by steps of rounding",) if whole else (),
    )  # fmt: skip


def measure_rounding(network: TFLiteNetwork) -> float:
    """The tolerance of a network of real numbers: four times what its outputs move by where its input moves by 10⁻⁶.

    Some amplify rounding, so that ONNX Runtime's own optimisation changes them by more than the smallest tolerance.
    """
    import numpy as np

    rng, most = np.random.default_rng(0), 0.0
    for _ in range(3):
        images = rng.standard_normal((1, *network.shape)).astype(network.dtype)
        moved = (images * (1 + 1e-6 * rng.choice((-1, 1), images.shape))).astype(network.dtype)
        for one, other in zip(network(images), network(moved), strict=True):
            size, change = (float(np.abs(values.astype(np.float64)).max(initial=0)) for values in (one, other - one))
            most = max(most, change / size if size > 0 else 0.0)
    return float(np.clip(4 * most, *_ROUNDING)) if np.isfinite(most) else _ROUNDING[0]


def is_quantised(network: TFLiteNetwork) -> bool:
    """Whether any tensor between its layers is quantised."""
    import numpy as np

    details = network.interpreter.get_tensor_details()
    return any(each["quantization"][0] and each["dtype"] in (np.int8, np.uint8, np.int16) for each in details)


def _fixed_batch(network: TFLiteNetwork) -> int | None:
    batch = network.batch
    if batch not in (1, None):
        raise ModelError(
            f"{network.path} takes batches of {batch} only. Convert it again with one image, or with an open batch."
        )
    return batch


def _check_shape(source: Source, asked: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    if asked is not None and asked != shape:
        has, wants = ("×".join(map(str, size)) for size in (shape, asked))
        raise ConfigError(f"{source.text} takes images of {has}, not of {wants}. Leave out --input.")


def _export_network(network: TFLiteNetwork, opset: int) -> onnx.ModelProto:
    """Export the file's network, its outputs in the order of the interpreter."""
    from onnxspace_converters.float_io import add_float_input, add_float_output, remove_int16_steps
    from onnxspace_converters.tflite_route import convert_tflite

    model = convert_tflite(network.written_out(), opset)
    add_float_input(model, network.step)
    _order_outputs(model, network.outputs)
    for value, detail in zip(list(model.graph.output), network.interpreter.get_output_details(), strict=True):
        add_float_output(model, value, detail)
    remove_int16_steps(model)
    return model


def _order_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    values = {value.name: value for value in model.graph.output}
    if len(values) == len(names) and set(values) == set(names):
        del model.graph.output[:]
        model.graph.output.extend(values[name] for name in names)


TFLITE = Exporter(
    "tflite", accepts, export, "TFLite (.tflite)", ("ai_edge_litert", "tf2onnx"), "pip install 'onnxspace[tflite]'"
)  # fmt: skip
