"""Sizes of images that a file leaves open: the usual one, or where its graph can't be run with it, the first that it can be run with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_record import KEPT_SIZE
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import ImageInput, dims
from onnxspace.model.network import Network
from onnxspace.model.runtime import SIZING_SECONDS, Runner
from onnxspace.model.shapes import find_large_tensor

#: Sides of images of detectors and of networks for dense outputs, in pixels.
_SQUARES = (640, 320, 256, 384, 416, 448, 512, 299, 128, 64, 32)
#: Heights of lines of text, whose width is open, in pixels.
_LINES = (48, 32, 64)
_LINE_WIDTH = 320
_STRIDED = frozenset({"Conv", "MaxPool", "AveragePool", "QLinearConv", "ConvInteger", "FusedConv", "QLinearAveragePool"})
Size = tuple[int, int]


def apply_open_size(options: ModelOptions, image: ImageInput) -> tuple[ModelOptions, tuple[str, ...]]:
    """The options with the size for all models of a run as that of the input `image`, if that is open or the same.

    Else the input keeps its own size, which is returned in words.
    """
    wanted, rest = options.open_size, replace(options, open_size=None)
    if wanted is None:
        return options, ()
    if all(fixed in (None, n) for fixed, n in zip((image.height, image.width), wanted, strict=True)):
        return replace(rest, size=wanted), ()
    own = "×".join("open" if n is None else str(n) for n in (image.height, image.width))
    return rest, (f"{KEPT_SIZE} {own} instead of {wanted[0]}×{wanted[1]}",)


def choose_usual(graph: Graph, image: ImageInput, usual: Size) -> Size:
    """Return `usual` (height, width), or the size of a line of text for the input `image` of such a recogniser, whatever else it takes.

    That is a network with the height of a line, an open width, and other strides of rows than of columns.
    """
    is_line = image.height in _LINES and image.width is None and _has_uneven_strides(graph)
    return (image.height or usual[0], _LINE_WIDTH) if is_line else usual


def find_size(network: Network, image: ImageInput, usual: Size, feed: Callable[[Size], NDArray[Any]]) -> Size:
    """Return `usual` (height, width), or the first size at which the graph of `network` can be run where it can't at that.

    `feed` returns an example of the file's input `image` of a size. Only sizes that the file leaves open are changed. Where none can
    be run, `usual` is returned: it may be other things that fail.
    """
    others = {value.name: _fill(value) for value in network.graph.inputs if value.name != image.name}
    try:
        runner = Runner(network)
    except Exception:  # ONNX Runtime's errors share no base class; it can't load this graph at any size
        return usual
    if _runs(network, runner, {image.name: feed(usual), **others}) is not False:
        return usual
    sizes = (size for size in dict.fromkeys(_list_sizes(network.graph, image, usual)) if size != usual)
    return next((size for size in sizes if _runs(network, runner, {image.name: feed(size), **others})), usual)


def _runs(network: Network, runner: Runner, feeds: Mapping[str, NDArray[Any]]) -> bool | None:
    """Whether a graph can be run on `feeds`; None where it takes too long to tell."""
    if find_large_tensor(network.proto, {name: value.shape for name, value in feeds.items()}) is not None:
        return False
    try:
        runner(feeds, SIZING_SECONDS)
    except Exception as error:  # ONNX Runtime's errors share no base class
        return None if "terminate" in str(error) else False
    return True


def _fill(value: onnx.ValueInfoProto) -> NDArray[Any]:
    kind = value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
    return np.ones([n or 1 for n in dims(value) or ()], onnx.helper.tensor_dtype_to_np_dtype(kind))


def _list_sizes(graph: Graph, image: ImageInput, usual: Size) -> Iterator[Size]:
    """Sizes to try: multiples of the strides near the usual one, those of detectors, lines of text, and smaller squares.

    Lines come first where strides of rows and columns differ, as they do in recognisers of text.
    """
    step = _multiply_strides(graph)
    near = [step * max(1, n) for n in (-(-usual[0] // step), usual[0] // step)]
    squares = [(n, n) for n in dict.fromkeys([*near, *(n for n in _SQUARES if n >= usual[0])])]
    lines = [(height, _LINE_WIDTH) for height in _LINES]
    small = [(n, n) for n in _SQUARES if n < usual[0]]
    ordered = [*lines, *squares] if _has_uneven_strides(graph) else [*squares, *lines]
    for height, width in [*ordered, *small]:
        yield image.height or height, image.width or width


def _has_uneven_strides(graph: Graph) -> bool:
    strides = [list(a.ints) for node in graph.nodes for a in node.attribute if a.name == "strides"]
    return any(len(set(each)) > 1 for each in strides if len(each) == 2)


def _multiply_strides(graph: Graph) -> int:
    """The largest product of strides along a path of the graph."""
    along: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        before = max((along.get(name, 1) for name in graph.reads[i]), default=1)
        strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
        product = before * (max(strides, default=1) if node.op_type in _STRIDED else 1)
        along |= dict.fromkeys(node.output, min(product, 4096))
    return max(along.values(), default=1)
