"""From a batch of images with four axes to what a file's input takes: as arrays, and as nodes at the start of its graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.inputs.preprocess import Layout, Preprocess
from onnxspace.model.graph import subgraphs_of
from onnxspace.model.image_axes import InputAxes
from onnxspace.model.image_input import ImageInput
from onnxspace.model.network import Network
from onnxspace.model.shapes import set_input_shapes

#: The order of the axes of [images, frames, channels, height, width] in the file's input.
_VIDEO: dict[InputAxes, tuple[int, ...]] = {"NTCHW": (0, 1, 2, 3, 4), "NCTHW": (0, 2, 1, 3, 4), "NTHWC": (0, 1, 3, 4, 2)}


@dataclass(frozen=True)
class Arrangement:
    """How a file's input holds images: `axes` in this order, `batch` images at a time (None: any number).

    An image has `frames` frames of `channels` channels of `height` × `width` pixels, prepared in `layout`.
    """

    axes: InputAxes
    batch: int | None
    frames: int
    channels: int
    height: int
    width: int
    layout: Layout

    @property
    def is_plain(self) -> bool:
        """Whether the input is a batch of images with four axes, of any size or of one."""
        return self.axes == self.layout and self.batch in (1, None)

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return prepared images [images, …], with four axes in `layout`, as the file's input takes them.

        An input without an axis for images takes one image.
        """
        if self.axes == self.layout:
            return values
        shaped = values.reshape(len(values) if -1 in self.target else 1, *self.target[1:]) if self.axes in _VIDEO else values
        if self.axes in _VIDEO:
            return np.ascontiguousarray(shaped.transpose(_VIDEO[self.axes]))
        return values.reshape(self.target)

    @property
    def target(self) -> tuple[int, ...]:
        """The shape to which prepared images are reshaped, -1 for their number."""
        if self.axes in _VIDEO:
            return (-1, self.frames, self.channels, self.height, self.width)
        shapes: dict[str, tuple[int, ...]] = {
            "CHW": (self.channels, self.height, self.width), "HWC": (self.height, self.width, self.channels),
            "NHW": (-1, self.height, self.width), "HW": (self.height, self.width),
            "NV": (-1, self.channels * self.height * self.width),
        }  # fmt: skip
        return shapes[self.axes]

    @property
    def order(self) -> tuple[int, ...] | None:
        """The transposition after reshaping, None where there is none."""
        order = _VIDEO.get(self.axes)
        return None if order is None or order == tuple(range(5)) else order


def arrangement_of(image: ImageInput, preprocess: Preprocess, frames: int) -> Arrangement:
    """Return how the input `image` holds what `preprocess` prepares, each image with so many `frames`."""
    channels = preprocess.channels // frames
    return Arrangement(image.axes, image.batch, frames, channels, preprocess.height, preprocess.width, image.layout)


def attach(network: Network, image: ImageInput, arrangement: Arrangement, opset: int) -> tuple[Network, ImageInput]:
    """Put the arrangement at the start of a graph: its input then is a batch of images with four axes.

    The batch of `image` is what the graph then takes, None for any number. Returns the network, which shares the weights, and its image
    input. `opset` is the graph's.
    """
    if arrangement.axes == arrangement.layout:
        return network, image
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    del proto.graph.value_info[:]
    inner = make_free_name(proto.graph, f"{image.name}__arranged")
    joined = _bypass_image_axis(proto.graph, image.name, opset) if arrangement.axes in ("CHW", "HWC") else False
    if not joined:
        rename_reads(proto.graph.node, image.name, inner)
        nodes = list(_write_nodes(arrangement, image.name, inner, opset, proto.graph))
        rest = list(proto.graph.node)
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes, *rest])
    batch = image.batch if "N" in arrangement.axes else 1
    height, width, channels = image.height, image.width, arrangement.channels * arrangement.frames
    if not joined:
        height, width = arrangement.height, arrangement.width
    shape = (batch, channels, height, width) if arrangement.layout == "NCHW" else (batch, height, width, channels)
    set_input_shapes(proto, {image.name: shape})
    fed = replace(image, batch=batch, axes=arrangement.layout, frames=1, channels=channels, height=height, width=width)
    return replace(network, proto=proto, source=None), fed


def make_free_name(graph: onnx.GraphProto, name: str) -> str:
    """Return `name`, with underscores behind it where a tensor of `graph` has it already."""
    taken = {output for node in graph.node for output in node.output} | {tensor.name for tensor in graph.initializer}
    while name in taken:
        name += "_"
    return name


def _write_nodes(
    arrangement: Arrangement, name: str, inner: str, opset: int, graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    reshaped = inner if arrangement.order is None else f"{inner}_frames"
    if opset < 5:
        yield helper.make_node("Reshape", [name], [reshaped], shape=arrangement.target)
    else:
        target = f"{inner}_shape"
        graph.initializer.append(numpy_helper.from_array(np.array(arrangement.target, np.int64), target))
        yield helper.make_node("Reshape", [name, target], [reshaped])
    if arrangement.order is not None:
        yield helper.make_node("Transpose", [reshaped], [inner], perm=arrangement.order)


def _bypass_image_axis(graph: onnx.GraphProto, name: str, opset: int) -> bool:
    """Replace the nodes that add an axis for images to a single image, if nothing else reads it, so that it may be a batch."""
    readers = [node for node in graph.node if name in node.input]
    stored = {tensor.name: tensor for tensor in graph.initializer}
    if not readers or any(subgraphs_of(a) for node in graph.node for a in node.attribute):
        return False
    if not all(_adds_first_axis(node, stored, graph) for node in readers):
        return False
    for node in readers:
        node.op_type = "Identity"
        del node.input[1:], node.attribute[:]
    return True


def _adds_first_axis(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto], graph: onnx.GraphProto) -> bool:
    axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
    if axes is None and len(node.input) > 1:
        constants = {n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}
        tensor = stored.get(node.input[1]) or constants.get(node.input[1])
        axes = None if tensor is None else numpy_helper.to_array(tensor).ravel().tolist()
    return node.op_type == "Unsqueeze" and axes == [0]


def rename_reads(nodes: Any, name: str, new: str) -> None:
    """Let `nodes`, and those of their subgraphs that capture it, read the tensor `new` instead of `name`, in place."""
    for node in nodes:
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = new
        for attribute in node.attribute:
            for body in subgraphs_of(attribute):
                defined = (
                    {v.name for v in body.input} | {t.name for t in body.initializer} | {o for n in body.node for o in n.output}
                )
                if name not in defined:
                    rename_reads(body.node, name, new)
                    for value in body.output:
                        value.name = new if value.name == name else value.name
