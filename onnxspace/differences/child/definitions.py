"""Whether two nodes are defined alike: operator, attributes with their defaults, and constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from onnxspace.model.graph import Graph, domain_of

#: Attributes that change no values, or that newer operator sets have as inputs.
_IGNORED = frozenset({"axes", "axis", "keepdims", "min", "max", "pads", "value", "mode", "perm", "noop_with_empty_axes", "allowzero",
                      "ratio", "to", "saturate", "training_mode", "spatial", "storage_order", "shape"})  # fmt: skip
#: What sizes are where they are left out.
PLAIN_SIZES = {"strides": 1, "dilations": 1, "pads": 0, "output_padding": 0}
#: Numbers of a constant up to which it is a setting, and no weights.
MOST_CONSTANT = 64


def is_defined_alike(old: tuple[Graph, int], new: tuple[Graph, int]) -> bool:
    """Whether two nodes, each a graph and a place in it, have one operator, and equal attributes and small constants."""
    first, second = (graph.nodes[index] for graph, index in (old, new))
    if first.op_type != second.op_type or domain_of(first) != domain_of(second):
        return False
    one, two = read_attributes(old[0], first), read_attributes(new[0], second)
    compared = (
        one.keys() | two.keys()
        if _version_of(old[0], first) == _version_of(new[0], second)
        else (one.keys() & two.keys()) - _IGNORED
    )
    return all(one.get(name) == two.get(name) for name in compared) and _have_equal_constants(old[0], first, new[0], second)


def _version_of(graph: Graph, node: NodeProto) -> int:
    opset = max((o.version for o in graph.proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    try:
        return int(onnx.defs.get_schema(node.op_type, opset, domain_of(node)).since_version)
    except onnx.defs.SchemaError:
        return 0


def read_attributes(graph: Graph, node: NodeProto) -> dict[str, Any]:
    """Attributes by name, and the defaults of those that are left out."""
    opset = max((o.version for o in graph.proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    given = {a.name: _plain(a) for a in node.attribute}
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, domain_of(node))
    except onnx.defs.SchemaError:
        return given
    defaults = {name: _plain(a.default_value) for name, a in schema.attributes.items() if a.default_value.type}
    return _fill_sizes({**defaults, **given}, weighted="Conv" in node.op_type)


def _fill_sizes(found: dict[str, Any], *, weighted: bool) -> dict[str, Any]:
    """Attributes without those that state what is so without them: strides and dilations of 1, no padding, the size of weights."""
    kept = {k: v for k, v in found.items() if k not in PLAIN_SIZES or any(n != PLAIN_SIZES[k] for n in v)}
    return {k: v for k, v in kept.items() if k != "kernel_shape" or not weighted}


def _plain(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, bytes | int | str):
        return value
    if isinstance(value, onnx.TensorProto | onnx.GraphProto):
        return value.SerializeToString()
    return tuple(value) if value is not None and not hasattr(value, "SerializeToString") else None


def _have_equal_constants(old: Graph, first: NodeProto, new: Graph, second: NodeProto) -> bool:
    """Whether constants of a few values that both read at the same place are equal; weights are compared elsewhere."""
    for one, two in zip(first.input, second.input, strict=False):
        values = (old.constant(one) if one else None), (new.constant(two) if two else None)
        if values[0] is None or values[1] is None or max(values[0].size, values[1].size) > MOST_CONSTANT:
            continue
        numbers = [np.asarray(value).reshape(-1) for value in values]
        if numbers[0].shape != numbers[1].shape or numbers[0].dtype.kind not in "fiub":
            return False
        if not np.allclose(numbers[0].astype(np.float64), numbers[1].astype(np.float64), rtol=1e-5, atol=1e-12, equal_nan=True):
            return False
    return True
