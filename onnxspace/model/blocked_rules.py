"""The plain form of each operator of ONNX Runtime on blocks of channels, and of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.defs
from numpy.typing import NDArray
from onnx import helper

from onnxspace.model.graph import Graph
from onnxspace.model.opset_rules import get_attribute

DOMAIN = "com.microsoft.nchwc"
Nodes = Iterator[onnx.NodeProto]


@dataclass(frozen=True)
class Plain:
    """What the rules read, and the weights in plain order that they write to `arrays`.

    `channels` is the number of channels of tensors that are divided into blocks, by name; 0 or absent where it is unknown.
    """

    graph: Graph
    block: int
    opset: int
    channels: Mapping[str, int]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def hold(self, name: str, values: NDArray[Any]) -> str:
        """Keep an array as an initialiser, and return its name."""
        self.arrays[name] = np.ascontiguousarray(values)
        return name

    def stored(self, name: str) -> NDArray[Any]:
        """The value of a weight. Raises ValueError where it is computed."""
        value = self.graph.constant(name)
        if value is None:
            raise ValueError(f"its weight {name!r} is computed")
        return value


def order_plainly(weight: NDArray[Any], group: int, block: int) -> NDArray[Any]:
    """A convolution's weights, declared as [outputs, inputs, …], in that order.

    They lie as [outputs / block, inputs, …, outputs in a block] where the input has fewer channels than a block, or groups of one
    channel; otherwise inputs are in blocks as well. Raises ValueError for a number of channels that a block does not divide.
    """
    outputs, inputs, *kernel = weight.shape
    if outputs % block:
        raise ValueError(f"{outputs} channels are not whole blocks of {block}, those of this machine's processor")
    if inputs < block or (group > 1 and inputs == 1):
        moved = np.moveaxis(weight.reshape(outputs // block, inputs, *kernel, block), -1, 1)
        return moved.reshape(weight.shape)
    if inputs % block:
        raise ValueError(f"{inputs} channels are not whole blocks of {block}, those of this machine's processor")
    blocks = weight.reshape(outputs // block, inputs // block, *kernel, block, block)
    return np.moveaxis(blocks, (-1, -2), (1, 3)).reshape(weight.shape)


def _keep_attributes(node: onnx.NodeProto, opset: int) -> dict[str, Any]:
    """Those attributes of a node that the standard's operator of the same name has."""
    known = onnx.defs.get_schema(node.op_type, opset, "").attributes
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in known}


def _convolve(node: onnx.NodeProto, plain: Plain) -> Nodes:
    """Conv, a sum, an activation."""
    x, weight, *rest = node.input
    values = order_plainly(plain.stored(weight), get_attribute(node, "group", 1), plain.block)
    inputs = [x, plain.hold(f"{weight}__plain_{get_attribute(node, 'group', 1)}", values), *rest[:1]]
    word, added, result = get_attribute(node, "activation", b"").decode(), rest[1:], node.output[0]
    sums = f"{result}__sum" if word else result
    products = f"{result}__conv" if added else sums
    yield helper.make_node("Conv", inputs, [products], name=node.name, **_keep_attributes(node, plain.opset))
    if added:
        yield helper.make_node("Add", [products, added[0]], [sums])
    if word:
        yield _activate(word, sums, result, [float(n) for n in get_attribute(node, "activation_params", [])], plain)


_PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": ("min", "max"), "Elu": ("alpha",)}


def _activate(word: str, source: str, target: str, values: list[float], plain: Plain) -> onnx.NodeProto:
    if word not in (*_PARAMETERS, "Relu", "Sigmoid", "Tanh"):
        raise ValueError(f"its activation {word!r} is unknown")
    named: dict[str, Any] = dict(zip(_PARAMETERS.get(word, ()), values, strict=True))
    if word != "Clip" or plain.opset < 11:
        return helper.make_node(word, [source], [target], **named)
    bounds = [plain.hold(f"{target}__{name}", np.asarray(value, np.float32)) for name, value in named.items()]
    return helper.make_node("Clip", [source, *bounds], [target])


def _pool(node: onnx.NodeProto, plain: Plain) -> Nodes:
    """MaxPool, AveragePool and GlobalAveragePool."""
    kept = _keep_attributes(node, plain.opset)
    yield helper.make_node(node.op_type, list(node.input), list(node.output), name=node.name, **kept)


def _move_channels_in(node: onnx.NodeProto, plain: Plain) -> Nodes:
    """ReorderInput: channels to the second axis, and zeros up to whole blocks."""
    source, target, count = node.input[0], node.output[0], plain.channels.get(node.input[0], 0)
    missing = -count % plain.block
    if get_attribute(node, "channels_last", 0):
        moved = f"{target}__moved" if missing else target
        yield helper.make_node("Transpose", [source], [moved], perm=[0, 3, 1, 2])
        source = moved
    if missing:
        yield _pad(source, target, missing, plain)
    elif source != target:
        yield helper.make_node("Identity", [source], [target])


def _pad(source: str, target: str, missing: int, plain: Plain) -> onnx.NodeProto:
    pads = [0, 0, 0, 0, 0, missing, 0, 0]
    if plain.opset < 11:
        return helper.make_node("Pad", [source], [target], pads=pads)
    return helper.make_node("Pad", [source, plain.hold(f"{target}__pads", np.asarray(pads, np.int64))], [target])


def _move_channels_out(node: onnx.NodeProto, plain: Plain) -> Nodes:
    """ReorderOutput: the channels without those that fill the last block, on the second axis or the last."""
    source, target, count = node.input[0], node.output[0], int(get_attribute(node, "channels"))
    last = bool(get_attribute(node, "channels_last", 0))
    cut = f"{target}__cut" if last else target
    yield _slice(source, cut, count, plain)
    if last:
        yield helper.make_node("Transpose", [cut], [target], perm=[0, 2, 3, 1])


def _slice(source: str, target: str, count: int, plain: Plain) -> onnx.NodeProto:
    if count % plain.block == 0:
        return helper.make_node("Identity", [source], [target])
    if plain.opset < 10:
        return helper.make_node("Slice", [source], [target], axes=[1], starts=[0], ends=[count])
    bounds = [plain.hold(f"{target}__{name}", np.asarray([n])) for name, n in (("start", 0), ("end", count), ("axis", 1))]
    return helper.make_node("Slice", [source, *bounds], [target])


def _enlarge(node: onnx.NodeProto, plain: Plain) -> Nodes:
    """Upsample by whole factors, in the form of Resize."""
    if plain.opset < 11:
        raise ValueError(f"opset {plain.opset} has no operator for it")
    name = f"{node.output[0]}__scales"
    scales = plain.hold(name, np.asarray(get_attribute(node, "scales", []), np.float32))
    words = {key: get_attribute(node, key, default) for key, default in _WORDS.items()}
    region = plain.hold(f"{node.output[0]}__region", np.zeros(0, np.float32))  # which version 11 requires
    yield helper.make_node("Resize", [node.input[0], region, scales], list(node.output), nearest_mode="floor", **words)


_WORDS = {"mode": b"nearest", "coordinate_transformation_mode": b"asymmetric"}
#: The rule of each operator: it yields the plain nodes for a node, of which the last has the node's output.
RULES: Mapping[str, Callable[[onnx.NodeProto, Plain], Nodes]] = {
    "Conv": _convolve, "MaxPool": _pool, "AveragePool": _pool, "GlobalAveragePool": _pool,
    "ReorderInput": _move_channels_in, "ReorderOutput": _move_channels_out, "Upsample": _enlarge,
}  # fmt: skip
