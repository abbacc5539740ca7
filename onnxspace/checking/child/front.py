"""What stands between a network's image and its first layer with weights, what that layer gets, and the network without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.checking.child.input_range import affine_of, by_colour
from onnxspace.errors import ModelError
from onnxspace.inputs.preprocess import Layout
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.runtime import Runner, input_dtype

#: Operators that move values or change their type, and compute nothing.
_MOVING = frozenset({
    "Cast", "CastLike", "Identity", "Transpose", "Pad", "Reshape", "Squeeze", "Unsqueeze", "Gather", "Slice", "Shape", "Constant",
})  # fmt: skip
_GREYS = (0, 85, 170, 255)
#: Largest deviation from a straight line, relative to the range of values.
_STRAIGHT = 1e-3


@dataclass(frozen=True)
class Front:
    """The tensor that a network's first layer reads, its layout, and the operators that compute it from the image."""

    tensor: str
    layout: Layout
    operators: tuple[str, ...]


def find_front(model: Model) -> Front | None:
    """The front of a network; None where its first layers read several tensors, or one that is no image of its channels."""
    tensor = _first_read(model)
    if tensor is None or (layout := _layout_of(model, tensor)) is None:
        return None
    graph = model.graph
    inside = sorted(graph.ancestors_of([tensor]) & graph.descendants_of(model.image.name))
    operators = tuple(graph.nodes[i].op_type for i in inside)
    return Front(tensor, layout, tuple(name for name in operators if name not in _MOVING))


def _first_read(model: Model) -> str | None:
    """The tensor that all layers read that no other layer precedes."""
    graph = model.graph
    live, read = {model.image.name}, set()
    for i, node in enumerate(graph.nodes):
        data = [name for name in node.input if name in live]
        if not data or node.op_type == "Shape":
            continue
        if graph.is_parametric(i):
            read.add(data[0])
        else:
            live.update(node.output)
    return read.pop() if len(read) == 1 else None


def _layout_of(model: Model, tensor: str) -> Layout | None:
    if tensor == model.image.name:
        return model.preprocess.layout
    shape = _values_at(model, tensor, np.zeros((1, *_size(model)), np.uint8)).shape
    axes: Mapping[Layout, int] = {"NCHW": 1, "NHWC": 3}
    fits = [name for name, axis in axes.items() if len(shape) == 4 and shape[axis] == model.preprocess.channels]
    return fits[0] if len(fits) == 1 else None


def _size(model: Model) -> tuple[int, int, int]:
    return model.preprocess.height, model.preprocess.width, model.preprocess.channels


def _values_at(model: Model, tensor: str, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The values of a tensor for `pixels` uint8 [images, height, width, channels], float64 [images, …]."""
    part = cut(model, Encoder((tensor,), "the first layer's input"))
    runner, values = Runner(part), model.preprocess.values(pixels).astype(input_dtype(part))
    return np.concatenate([runner({runner.input: values[i : i + 1]})[0] for i in range(len(values))]).astype(np.float64)


def inner_steps(model: Model, front: Front) -> NDArray[np.float64] | None:
    """Slope and offset per channel that the front applies to the network's input, [channels, 2]; None for anything else."""
    channels = model.preprocess.channels
    if not front.operators:
        return np.stack([np.ones(channels), np.zeros(channels)], axis=1)
    total = _fed(model, front)
    if total is None:
        return None
    outer = affine_of(model.preprocess)
    slope = total[:, 0] / outer[:, 0]
    return np.stack([slope, total[:, 1] - slope * outer[:, 1]], axis=1)


def _fed(model: Model, front: Front) -> NDArray[np.float64] | None:
    """Slope and offset of the first layer's input per channel and pixel value, from uniform images and single channels."""
    if not front.operators:
        return affine_of(model.preprocess)
    height, width, channels = _size(model)
    colours = [[grey] * channels for grey in _GREYS] + (255 * np.eye(channels, dtype=int)).tolist()
    pixels = np.broadcast_to(np.array(colours, np.uint8)[:, None, None], (len(colours), height, width, channels))
    values = _values_at(model, front.tensor, np.ascontiguousarray(pixels))
    values = values if front.layout == "NHWC" else values.transpose(0, 2, 3, 1)
    centre = values[:, values.shape[1] // 2, values.shape[2] // 2]
    offset, slope = centre[0], (centre[len(_GREYS) - 1] - centre[0]) / 255
    expected = np.array(colours) * slope + offset
    room = _STRAIGHT * max(float(np.abs(slope).max()) * 255, 1e-12)
    straight = slope.all() and np.isfinite(centre).all() and np.abs(centre - expected).max() <= room
    return np.stack([slope, offset], axis=1) if straight else None


def front_facts(model: Model) -> tuple[tuple[tuple[float, float], ...], tuple[str, ...] | None]:
    """What the first layer gets per colour, and by which operators, as `FileFacts.fed` and `FileFacts.front`."""
    try:
        front = find_front(model)
        found = None if front is None else _fed(model, front)
    except Exception:  # ONNX Runtime's errors share no base class; what can't be run here is compared all the same
        return (), None
    return () if found is None else by_colour(found, model.preprocess), None if front is None else front.operators


def without_front(model: Model, front: Front) -> Model:
    """The network from its first layer on, which is fed what its input was fed. Raises ModelError where nothing can be left out."""
    if not front.operators:
        raise ModelError(f"{model.path} has nothing in front of its first layer.")
    graph = model.graph
    dropped = graph.ancestors_of([front.tensor]) & graph.descendants_of(model.image.name)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.node[:]
    proto.graph.node.extend(node for i, node in enumerate(graph.nodes) if i not in dropped)
    del proto.graph.input[:]
    kept = [value for value in model.proto.graph.input if value.name != model.image.name]
    height, width, channels = _size(model)
    shape = [None, channels, height, width] if front.layout == "NCHW" else [None, height, width, channels]
    proto.graph.input.extend([onnx.helper.make_tensor_value_info(front.tensor, onnx.TensorProto.FLOAT, shape), *kept])
    image = replace(model.image, name=front.tensor, layout=front.layout, elem_type=onnx.TensorProto.FLOAT, batch=None)
    preprocess = replace(model.preprocess, layout=front.layout)
    return replace(model, network=Network(proto, model.network.weights), image=image, preprocess=preprocess)
