"""Attributes and small constants in which two nodes of one operator differ, as texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from onnxspace.differences.child.definitions import MOST_CONSTANT, PLAIN_SIZES, read_attributes
from onnxspace.model.graph import Graph, domain_of

#: Numbers of a value that are written, and settings of a node that are listed.
_MOST_NUMBERS, _MOST_SETTINGS = 8, 6
Setting = tuple[str, str, str]


def list_settings(old: tuple[Graph, int], new: tuple[Graph, int], *, constants: bool = True) -> list[Setting]:
    """The names of what differs, each with its old and its new value; none for nodes of other operators. Without `constants`, attributes only."""
    first, second = (graph.nodes[index] for graph, index in (old, new))
    if first.op_type != second.op_type or domain_of(first) != domain_of(second):
        return []
    one, two = read_attributes(old[0], first), read_attributes(new[0], second)
    names = sorted(one.keys() | two.keys())
    both = [(name, one.get(name, _fill(name, two)), two.get(name, _fill(name, one))) for name in names]
    found = [(name, _write(before), _write(after)) for name, before, after in both if before != after]
    others = _compare_constants(old[0], first, new[0], second) if constants else ()
    return [*found, *others][:_MOST_SETTINGS]


def _fill(name: str, other: Mapping[str, Any]) -> Any:
    """The value of an attribute that is left out, in the form of the other node's: 1 for strides and dilations, 0 for padding."""
    plain = PLAIN_SIZES.get(name)
    return None if plain is None or not isinstance(other.get(name), tuple) else (plain,) * len(other[name])


def _compare_constants(old: Graph, first: NodeProto, new: Graph, second: NodeProto) -> Iterator[Setting]:
    for place, (one, two) in enumerate(zip(first.input, second.input, strict=False)):
        values = [None if not name else graph.constant(name) for graph, name in ((old, one), (new, two))]
        if values[0] is None or values[1] is None or max(values[0].size, values[1].size) > MOST_CONSTANT:
            continue
        texts = [
            _write(tuple(value.reshape(-1).tolist()) if value.ndim else value.item()) for value in values if value is not None
        ]
        if texts[0] != texts[1]:
            yield _name_input(old, first, place), texts[0], texts[1]


def _name_input(graph: Graph, node: NodeProto, place: int) -> str:
    """The name that the operator gives an input."""
    opset = max((one.version for one in graph.proto.opset_import if one.domain in ("", "ai.onnx")), default=0)
    try:
        names = [one.name for one in onnx.defs.get_schema(node.op_type, opset, domain_of(node)).inputs]
    except onnx.defs.SchemaError:
        names = []
    return names[place] if place < len(names) else f"input {place + 1}"


def _write(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if len(value) <= MOST_CONSTANT else "other bytes"
    if isinstance(value, tuple):
        more = ", …" if len(value) > _MOST_NUMBERS else ""
        return f"[{', '.join(map(_write, value[:_MOST_NUMBERS]))}{more}]"
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)[:MOST_CONSTANT]
