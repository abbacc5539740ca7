"""TFLite: `.tflite` files in float and quantised form, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source

if TYPE_CHECKING:
    import onnx

    from onnxspace_converters.litefiles import Network
    from onnxspace_converters.loaded import Loaded

#: Whole numbers are rounded at other places by LiteRT's kernels and by ONNX's: steps between layers may differ by one.
_STEPS = 0.03


def accepts(source: Source) -> bool:
    """Whether this is a file by whose name TFLite's are known."""
    return source.path.suffix.lower() in (".tflite", ".lite") and not source.is_callable


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a TFLite file. Raises ModelError and its kin."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(loaded(source, request), source.text, destination, request)


def loaded(source: Source, request: Request) -> Loaded:
    """The network of a file, with real numbers at its ends."""
    import numpy as np

    from onnxspace_converters.litefiles import Network, content, image_options
    from onnxspace_converters.loaded import Loaded, Route
    from onnxspace_converters.words import sha256

    network = Network(content(source.path), source.path)
    _same(source, request.input, network.shape)
    whole = quantised(network)
    route = Route("tf2onnx", lambda opset, _dynamic: _exported(network, opset), range(13, 19), 17)
    return Loaded(
        "TFLite", ("ai-edge-litert", "tf2onnx", "onnx"), network.shape, network, [route], image_options(network), layers=network.layers,
        batch=_batch(network), dtype=np.dtype(network.dtype), sha256=sha256([source.path]), tolerance=_STEPS if whole else 1e-5,
        remarks=("it is quantised: outputs may differ by steps of rounding",) if whole else (),
    )  # fmt: skip


def quantised(network: Network) -> bool:
    """Whether any tensor between its layers is stored in whole numbers."""
    import numpy as np

    details = network.interpreter.get_tensor_details()
    return any(each["quantization"][0] and each["dtype"] in (np.int8, np.uint8, np.int16) for each in details)


def _batch(network: Network) -> int | None:
    batch = network.batch
    if batch not in (1, None):
        raise ModelError(
            f"{network.path} takes batches of {batch} only. Convert it again with one image, or with an open batch."
        )
    return batch


def _same(source: Source, asked: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    if asked is not None and asked != shape:
        has, wants = ("×".join(map(str, size)) for size in (shape, asked))
        raise ConfigError(f"{source.text} takes images of {has}, not of {wants}. Leave --input out.")


def _exported(network: Network, opset: int) -> onnx.ModelProto:
    """The file's network, its outputs in the order of the interpreter."""
    from onnxspace_converters.literoute import converted
    from onnxspace_converters.realends import real_input, real_output, wide_steps

    model = converted(network.bytes, opset)
    real_input(model, network.step)
    _order(model, network.outputs)
    for value, detail in zip(list(model.graph.output), network.interpreter.get_output_details(), strict=True):
        real_output(model, value, detail)
    wide_steps(model)
    return model


def _order(model: onnx.ModelProto, names: Sequence[str]) -> None:
    there = {value.name: value for value in model.graph.output}
    if len(there) == len(names) and set(there) == set(names):
        del model.graph.output[:]
        model.graph.output.extend(there[name] for name in names)


TFLITE = Exporter(
    "tflite", accepts, export, "TFLite (.tflite)", ("ai_edge_litert", "tf2onnx"), "pip install 'onnxspace[tflite]'"
)  # fmt: skip
