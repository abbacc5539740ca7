"""A graph that was rewritten when it was read, compared with the graph that its file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.errors import ConversionError, ModelError
from onnxspace.model import runtime
from onnxspace.model.feeds import generate_feeds
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.noise import TAIL, allow
from onnxspace.model.probe_fit import refuse_unfit

#: Largest relative difference between the file and its inlined form: both are run by ONNX Runtime, which may fuse one further.
_ALLOWED = 1e-3
#: The same where the network itself moves by as much when its input moves by rounding.
_COARSE = 0.05


def check_model(model: Model, images: NDArray[np.uint8]) -> None:
    """Compare the graph of `model` with that of its file on the first of `images` (uint8 [images, size, size, bands]).

    Inputs besides the image get random values. Nothing is run for a model whose graph was not rewritten. Raises ConversionError
    where an output differs, ModelError where ONNX Runtime can't run the file's graph or the images lack bands that it takes.
    """
    refuse_unfit(model, images)
    network = model.file_network or model.network
    if network.source is not None:
        check_rewritten(network, _feeds(model, network, images), model.path)


def _feeds(model: Model, network: Network, images: NDArray[np.uint8]) -> Iterator[Mapping[str, NDArray[Any]]]:
    image = model.file_input(images[:1]).astype(onnx.helper.tensor_dtype_to_np_dtype(model.image.elem_type))
    shapes = {v.name: tuple(sizes) for v in network.graph.inputs if (sizes := dims(v)) is not None}
    for feed in generate_feeds(network.graph, {**shapes, model.image.name: image.shape}):
        yield {**feed, model.image.name: image}


def check_rewritten(network: Network, feeds: Iterator[Mapping[str, NDArray[Any]]], path: str) -> None:
    """Compare a network that was rewritten with the graph that its file holds, both run by ONNX Runtime.

    `feeds` yields inputs by name, of which the first that the file's graph accepts is used; `path` names the model in errors.
    Nothing is run for a network that was not rewritten. Raises ConversionError where an output differs, ModelError where the file's
    graph accepts no input.
    """
    if network.source is None:
        return
    feed, expected = _run_first(network.source, feeds, path)
    found = runtime.evaluate(network, feed)
    names = [value.name for value in network.proto.graph.output]
    unequal = [not _agree(ours, theirs) for ours, theirs in zip(found, expected, strict=True)]
    if not any(unequal):
        return
    for name, ours, theirs, noise in zip(names, found, expected, allow(network, [feed]), strict=True):
        if not _agree(ours, theirs, min(noise, _COARSE * _size_of(theirs)) if noise > TAIL else noise):
            raise ConversionError(
                f"{path}: its output {name!r} changes when its functions, sparse tensors and blocks of channels are written out. "
                "Export it without them."
            )


def _run_first(
    source: Network, feeds: Iterator[Mapping[str, NDArray[Any]]], path: str
) -> tuple[Mapping[str, NDArray[Any]], list[Any]]:
    refused: Exception | None = None
    for feed in feeds:
        try:
            return feed, runtime.evaluate(source, feed)
        except Exception as error:  # ONNX Runtime's errors share no base class
            refused = error
    reason = (str(refused).splitlines() or [""])[0][:300].rstrip(". ")
    raise ModelError(
        f"{path} has functions, sparse tensors or blocks of channels that ONNX Runtime can't run ({reason}). Export it without them."
    ) from refused


def _size_of(value: Any) -> float:
    """The largest finite value of an array; 0 for anything else."""
    numbers = np.asarray(value, np.float64) if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else np.zeros(0)
    return float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0))


def _agree(ours: Any, theirs: Any, noise: float = 0.0) -> bool:
    """Whether two outputs are equal up to rounding and `noise`: arrays, or sequences of them."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_agree, ours, theirs))
    first, second = np.asarray(ours), np.asarray(theirs)
    if first.shape != second.shape or first.dtype.kind not in "biuf":
        return bool(first.shape == second.shape and np.array_equal(first, second))
    finite = np.abs(second[np.isfinite(second)].astype(np.float64)).max(initial=1e-6)
    return bool(np.allclose(first, second, rtol=0, atol=max(_ALLOWED * finite, noise), equal_nan=True))
