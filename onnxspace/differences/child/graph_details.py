"""What a page shows of both graphs besides what was compared: modules, attributes, shapes, and which node reads which."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from typing import Any

from onnx import AttributeProto, NodeProto, helper

from onnxspace.differences.child.alignment import Described
from onnxspace.differences.child.compare import Comparison
from onnxspace.differences.child.sides import Side
from onnxspace.model.graph import Graph

#: Characters of an attribute, and of a module's name; attributes of a node; modules within each other.
_MOST_TEXT, _MOST_MODULE, _MOST_ATTRIBUTES, _DEEPEST = 120, 200, 40, 16
#: Numbers of an attribute that are written, and inputs of a node.
_MOST_NUMBERS, _MOST_READS = 12, 64
#: Metadata of nodes in which exporters write the modules.
_SCOPES = "pkg.torch.onnx.name_scopes"
_NAMESPACE = "namespace"


def describe_details(found: Comparison) -> dict[str, Any]:
    """Both graphs, the places of each group's nodes in them, and the largest relative error of the outputs of each image."""
    return {
        "old": _describe_graph(found.match.old),
        "new": _describe_graph(found.match.new),
        "places": [[sorted(group.old), sorted(group.new)] for group in found.groups],
        "image_errors": _measure_images(found),
    }


def _measure_images(found: Comparison) -> list[float | None]:
    """The largest relative error of each image's outputs, None where one is not finite; nothing where outputs have other sizes."""
    values = [one.image_errors for _, one in found.outputs if one is not None]
    largest = (max(row) for row in zip(*values, strict=True))
    return [error if math.isfinite(error) else None for error in largest]


def _describe_graph(one: Described) -> list[dict[str, Any]]:
    side = one.side
    return [_describe_node(one, side, i) for i in range(len(side.graph.nodes))]


def _describe_node(one: Described, side: Side, index: int) -> dict[str, Any]:
    node = side.graph.nodes[index]
    signature = one.signature_of(index) if index in side.data else None
    return {
        "module": find_module(node), "attributes": [list(pair) for pair in _describe_attributes(node)],
        "shape": None if signature is None else list(signature.shape), "dtype": "" if signature is None else signature.dtype,
        "reads": _list_producers(side.graph, node, side.roots), "data": index in side.data,
    }  # fmt: skip


def _list_producers(graph: Graph, node: NodeProto, roots: Mapping[str, str]) -> list[int]:
    """The nodes that compute those inputs of a node that depend on the image."""
    producers = (graph.producer.get(name) for name in node.input if name in roots)
    return sorted({place for place in producers if place is not None})[:_MOST_READS]


def find_module(node: NodeProto) -> list[str] | None:
    """The modules that a node is in, the outermost first: from metadata of exporters, or from its name; None where neither says.

    >>> find_module(helper.make_node("Conv", ["x", "w"], ["y"], name="/layer1/layer1.0/conv1/Conv"))
    ['layer1', 'layer1.0', 'conv1']
    """
    stated = _read_metadata(node)
    parts = _split_name(node) if stated is None else stated
    return None if parts is None else [part[:_MOST_MODULE] for part in parts[:_DEEPEST]]


def _read_metadata(node: NodeProto) -> list[str] | None:
    entries = {entry.key: entry.value for entry in node.metadata_props if len(entry.value) < 2**14}
    scopes = _parse_scopes(entries.get(_SCOPES, ""))
    if scopes is None and _NAMESPACE in entries:
        scopes = [part.rpartition(": ")[0] or part for part in entries[_NAMESPACE].split("/")]
    return None if scopes is None else [scope for scope in scopes[:-1] if scope]


def _parse_scopes(text: str) -> list[str] | None:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


def _split_name(node: NodeProto) -> list[str] | None:
    """The parts of a node's name, or of its first output's, without the last; of names joined by `;` the first counts."""
    name = (node.name or next((name for name in node.output if name), "")).partition(";")[0]
    separator = next((mark for mark in "/." if mark in name), None)
    return None if separator is None else [part for part in name.split(separator)[:-1] if part.strip()]


def _describe_attributes(node: NodeProto) -> Iterator[tuple[str, str]]:
    for attribute in sorted(node.attribute[:_MOST_ATTRIBUTES], key=lambda one: one.name):
        yield attribute.name[:_MOST_TEXT], _describe_value(attribute)[:_MOST_TEXT]


def _describe_value(attribute: AttributeProto) -> str:
    kind = attribute.type
    if kind == AttributeProto.TENSOR:
        return f"tensor of shape {'×'.join(map(str, attribute.t.dims[:8])) or '1 number'}"
    if kind in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return "a graph"
    if kind not in (*_NUMBERS, AttributeProto.STRING, AttributeProto.STRINGS):
        return "a value of another type"
    return _describe_plain(helper.get_attribute_value(attribute))


_NUMBERS = (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.FLOATS, AttributeProto.INTS)


def _describe_plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:_MOST_TEXT].decode("utf-8", "replace")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return str(value)
    words = [_describe_plain(one) for one in value[:_MOST_NUMBERS]]
    return f"[{', '.join([*words, *(['…'] if len(value) > _MOST_NUMBERS else [])])}]"
