"""Rules that write a node of opset 1 to 6 as opset 7 defines it: attributes that became inputs, or changed or lost their meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxspace.model.graph import Graph, describe_node

Nodes = Iterator[onnx.NodeProto]


@dataclass(frozen=True)
class Form:
    """What a rule reads besides its node: the graph, for constants, its opset, and the number of axes of tensors."""

    graph: Graph
    opset: int
    ranks: Mapping[str, int]

    def constant(self, node: onnx.NodeProto, index: int) -> list[int]:
        """The integers of a constant input. Raises ValueError where it is computed."""
        value = self.graph.constant(node.input[index])
        if value is None:
            raise ValueError(f"input {index} of {describe_node(node)} is computed, which its newer form does not allow")
        return [int(n) for n in np.asarray(value).reshape(-1)]

    def rank(self, node: onnx.NodeProto, index: int) -> int:
        """The number of axes of an input. Raises ValueError where it is unknown."""
        if node.input[index] not in self.ranks:
            raise ValueError(f"the shape of {node.input[index]!r}, to which {describe_node(node)} is aligned, is unknown")
        return self.ranks[node.input[index]]


Rule = Callable[[onnx.NodeProto, Form], Nodes]


def get_attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default` where the node does not have it."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def set_attributes(node: onnx.NodeProto, **values: Any) -> None:
    """Set attributes in place, and remove those whose value is None."""
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    kept += [helper.make_attribute(name, value) for name, value in values.items() if value is not None]
    del node.attribute[:]
    node.attribute.extend(kept)


def _hold(node: onnx.NodeProto, name: str, values: list[int]) -> Nodes:
    """A node that holds integers, and becomes the second and last input of `node`."""
    tensor = f"{node.output[0]}__{name}"
    yield helper.make_node("Constant", [], [tensor], value=numpy_helper.from_array(np.asarray(values, np.int64)))
    node.input[:] = [node.input[0], tensor]


def _append_axes(node: onnx.NodeProto, form: Form, count: int) -> Nodes:
    """Append `count` axes of size one to the second input."""
    if count > 0:
        tensor, rank = f"{node.output[0]}__aligned", form.rank(node, 1)
        yield helper.make_node("Unsqueeze", [node.input[1]], [tensor], axes=[rank + i for i in range(count)])
        node.input[1] = tensor


def _align(node: onnx.NodeProto, form: Form) -> Nodes:
    """A function of two tensors: the axes of the second are aligned with those of the first from `axis` on."""
    axis = get_attribute(node, "axis") if get_attribute(node, "broadcast", 0) else None
    set_attributes(node, axis=None, broadcast=None)
    if axis is not None:
        rank = form.rank(node, 0)
        yield from _append_axes(node, form, rank - axis % max(rank, 1) - form.rank(node, 1))


def _align_slopes(node: onnx.NodeProto, form: Form) -> Nodes:
    """PRelu: one slope per channel, which is the second axis."""
    if form.rank(node, 1) == 1:
        yield from _append_axes(node, form, form.rank(node, 0) - 2)


def _repeat(node: onnx.NodeProto, form: Form) -> Nodes:
    """Tile of version 1, along one axis, with `tiles` and `axis` as inputs."""
    if len(node.input) == 3:
        repeats = [1] * form.rank(node, 0)
        repeats[form.constant(node, 2)[0]] = form.constant(node, 1)[0]
        yield from _hold(node, "repeats", repeats)


def treat_as_spatial(node: onnx.NodeProto, form: Form) -> Nodes:
    """BatchNormalization with `spatial` 0 and one value per channel becomes spatial, which is all that these can mean."""
    if node.op_type == "BatchNormalization" and get_attribute(node, "spatial") == 0:
        scale = form.graph.constant(node.input[1])
        set_attributes(node, spatial=1 if scale is not None and scale.ndim == 1 else 0)
    return iter(())


def _refuse_training(node: onnx.NodeProto, form: Form) -> Nodes:
    """Dropout and BatchNormalization, which had to say that they were not trained."""
    if not get_attribute(node, "is_test", 0):
        raise ValueError(f"{describe_node(node)} is in training mode")
    set_attributes(node, is_test=None)
    if node.op_type == "BatchNormalization":
        del node.output[1:]
    return treat_as_spatial(node, form)


def _name_type(node: onnx.NodeProto, _form: Form) -> Nodes:
    """Cast of version 1, whose type is a word."""
    to = get_attribute(node, "to")
    set_attributes(node, to=onnx.TensorProto.DataType.Value(to.decode()) if isinstance(to, bytes) else to)
    return iter(())


def _broadcast_always(node: onnx.NodeProto, _form: Form) -> Nodes:
    """Gemm, which had to say that it broadcasts."""
    set_attributes(node, broadcast=None)
    return iter(())


def _join(node: onnx.NodeProto, _form: Form) -> Nodes:
    """Concat of version 1, whose axis has a default."""
    set_attributes(node, axis=get_attribute(node, "axis", 1))
    return iter(())


def _divide(node: onnx.NodeProto, form: Form) -> Nodes:
    """Split of version 1, whose sizes may be an input, and whose axis the standard leaves open."""
    if get_attribute(node, "axis") is None:
        raise ValueError(f"{describe_node(node)} has no axis")
    if len(node.input) > 1:
        set_attributes(node, split=form.constant(node, 1))
        del node.input[1:]
    return iter(())


def _round_power(node: onnx.NodeProto, _form: Form) -> Nodes:
    """LpPool and GlobalLpPool of version 1, whose power is a floating-point number."""
    power = get_attribute(node, "p", 2)
    if power != int(power):
        raise ValueError(f"{describe_node(node)} has the power {power:g}, which is not whole")
    set_attributes(node, p=int(power))
    return iter(())


def _pad(node: onnx.NodeProto, _form: Form) -> Nodes:
    """Pad of version 1, whose amounts had another name."""
    set_attributes(node, pads=get_attribute(node, "pads", get_attribute(node, "paddings")), paddings=None)
    return iter(())


def _reshape(node: onnx.NodeProto, _form: Form) -> Nodes:
    """Reshape of version 1, whose shape is an attribute."""
    if len(node.input) == 1:
        shape = list(get_attribute(node, "shape", []))
        set_attributes(node, shape=None)
        yield from _hold(node, "shape", shape)


def _selu(node: onnx.NodeProto, form: Form) -> Nodes:
    """Selu, whose defaults were rounded in version 1."""
    if form.opset < 6:
        set_attributes(node, alpha=get_attribute(node, "alpha", 1.6732), gamma=get_attribute(node, "gamma", 1.0507))
    return iter(())


def _upsample(node: onnx.NodeProto, _form: Form) -> Nodes:
    """Upsample of version 1, with a factor each for height and width."""
    factors = [1.0, 1.0, get_attribute(node, "height_scale"), get_attribute(node, "width_scale")]
    if get_attribute(node, "scales") is None:
        linear = get_attribute(node, "mode", b"nearest") in (b"bilinear", b"linear")
        set_attributes(node, scales=factors, height_scale=None, width_scale=None, mode="linear" if linear else "nearest")
    return iter(())


ALIGNED = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
#: Rules that need the number of axes of tensors, which is inferred after all others have been applied.
RANKED: dict[str, Rule] = {**dict.fromkeys(ALIGNED, _align), "PRelu": _align_slopes, "Tile": _repeat}
_PLAIN: dict[str, Rule] = {
    "BatchNormalization": _refuse_training, "Dropout": _refuse_training, "Cast": _name_type, "Concat": _join,
    "Gemm": _broadcast_always, "LpPool": _round_power, "GlobalLpPool": _round_power, "Pad": _pad, "Reshape": _reshape, "Selu": _selu, "Split": _divide,
    "Upsample": _upsample,
}  # fmt: skip
_NO_LONGER = {"consumed_inputs": None, "output_sequence": None}


def rewrite_node(node: onnx.NodeProto, form: Form) -> Nodes:
    """Apply the rule of a node's operator that needs no shapes, if it has one; attributes without a meaning are removed."""
    set_attributes(node, **_NO_LONGER)
    yield from _PLAIN[node.op_type](node, form) if node.op_type in _PLAIN else ()


def align_node(node: onnx.NodeProto, form: Form) -> Nodes:
    """Apply the rule of a node's operator that needs shapes, if it has one."""
    yield from RANKED[node.op_type](node, form) if node.op_type in RANKED else ()
