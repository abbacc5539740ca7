"""The task of the worker process of `diff`, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from onnx import ValueInfoProto

from onnxspace.differences.child.compare import Comparison, compare_sides
from onnxspace.differences.child.graph_details import describe_details
from onnxspace.differences.child.groups import Group
from onnxspace.differences.child.judgement import Match
from onnxspace.differences.child.open_pair import OpenedModel, make_sides, open_located
from onnxspace.differences.child.output_rows import describe_outputs
from onnxspace.differences.child.settings import list_settings
from onnxspace.differences.child.sides import Side
from onnxspace.differences.child.sweep import sweep
from onnxspace.model.graph import Graph, domain_of
from onnxspace.model.image_input import dims
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.requests import LocatedModel

#: The most inputs, and axes of each, that are described.
_MOST_INPUTS, _MOST_AXES = 16, 64
Advance = Callable[[int], None]
_TABLE = (
    "max_error", "relative_error", "cosine", "snr_db", "old_range", "new_range", "half_overflow", "half_underflow", "int8_saturated",
)  # fmt: skip


def _diff(request: Mapping[str, Any], advance: Advance) -> Mapping[str, Any]:
    """Compare two models on images."""
    opened = [open_located(LocatedModel(**request[name])) for name in ("model", "other")]
    advance(0)
    images = map_array(request["images"])
    old, new = make_sides(opened[0], opened[1], images)
    found = compare_sides(old, new, advance)
    return {
        "old": _describe_model(opened[0], old, found), "new": _describe_model(opened[1], new, found),
        "precision": found.match.precision, "groups": [_describe_group(found, group) for group in found.groups],
        "layers": [_describe_layer(found, group) for group in found.groups if group.at is not None],
        "outputs": describe_outputs(found), "details": describe_details(found), "random": opened[0].model is None or opened[1].model is None,
        "warnings": [text for one in opened if one.model is not None for text in one.model.warnings],
    }  # fmt: skip


def _describe_model(opened: OpenedModel, side: Side, found: Comparison) -> dict[str, Any]:
    proto = opened.network.proto
    described = found.match.old if side.network is found.match.old.side.network else found.match.new
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    values = [layer for i, layer in described.layers.items() if side.graph.nodes[i].op_type not in ("Add", "Mul", "Sub", "Div")]
    return {
        "name": opened.located.name, "path": opened.located.path, "sha256": opened.sha256,
        "producer": _name_producer(proto.producer_name, proto.producer_version), "opset": opset, "nodes": len(side.graph.nodes),
        "computing": len(side.core), "parameters": sum(int(layer.rows.size + layer.bias.size) for layer in values),
        "types": dict(Counter(layer.stored for layer in values)), "inputs": [_describe_input(value) for value in side.graph.inputs[:_MOST_INPUTS]],
    }  # fmt: skip


def _name_producer(name: str, version: str) -> str:
    """The tool that wrote a file and its version, without fields of it that are empty, which some tools write as None."""
    return " ".join(word for word in f"{name} {version}".split() if word not in ("None", "null"))


def _describe_input(value: ValueInfoProto) -> list[Any]:
    """The name of an input, and its sizes in the file, None for open ones."""
    return [value.name, (dims(value) or [])[:_MOST_AXES]]


def _describe_group(found: Comparison, group: Group) -> dict[str, Any]:
    match = found.match
    change = None if group.at is None else match.changes.get(group.at)
    values = None if group.at is None else match.values.get(group.at)
    return {
        "status": group.status, "old": _describe_nodes(match.old.side, group.old), "new": _describe_nodes(match.new.side, group.new),
        "error": None if values is None else values.to_dict()["relative_error"], "own_error": _measure_own(found, group),
        "weights": None if change is None else _plain(change.to_dict()), "matters": _matters(found, group), "settings": _list_settings(match, group),
    }  # fmt: skip


def _list_settings(match: Match, group: Group) -> list[list[str]]:
    """The attributes and small constants of a departing node that differ."""
    if group.at is None or group.status != "departs":
        return []
    sides = (match.old.side.graph, group.at), (match.new.side.graph, match.pairs[group.at])
    return [list(setting) for setting in list_settings(*sides, constants=group.at not in match.changes)]


def _plain(change: Mapping[str, Any]) -> dict[str, Any]:
    """JSON without numbers that are not finite."""
    finite = {key: value for key, value in change.items() if not isinstance(value, float) or value - value == 0}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in finite.items()}


def _describe_nodes(side: Side, nodes: list[int]) -> list[dict[str, Any]]:
    core = set(side.core)
    return [_describe_node(side.graph, i, i in core) for i in sorted(nodes)]


def _describe_node(graph: Graph, index: int, computes: bool) -> dict[str, Any]:
    node = graph.nodes[index]
    name = node.name or next((name for name in node.output if name), "")
    return {"name": name, "op": node.op_type, "domain": domain_of(node), "computes": computes}


def _measure_own(found: Comparison, group: Group) -> float | None:
    """How far the new values are from the old ones where the nodes get old values."""
    if group.at is None:
        return None
    match = found.match
    name = match.new.output_of(match.pairs[group.at])
    if name in match.own:
        return match.own[name]
    values = match.values.get(group.at)
    return values.relative if values is not None and not values.bad and values.relative < float("inf") else None


def _matters(found: Comparison, group: Group) -> bool:
    """Whether nodes of one side lead to a pair whose values differ."""
    if group.status not in ("added", "removed"):
        return False
    side = 0 if group.status == "removed" else 1
    nodes = group.old if side == 0 else group.new
    backwards = {b: a for a, b in found.match.pairs.items()}
    for owner, owned in found.match.absorbed[side].items():
        if not set(owned).isdisjoint(nodes):
            a = owner if side == 0 else backwards[owner]
            return found.statuses.get(a) in ("departs", "downstream", "permuted") and not found.match.is_equal_locally(a)
    one = (found.match.old, found.match.new)[side].side
    return bool(set(nodes) & set(one.core)) and _reaches_output(one.graph, nodes)


def _reaches_output(graph: Graph, nodes: Collection[int]) -> bool:
    """Whether an output depends on one of the nodes."""
    reached = {name for i in nodes for name in graph.nodes[i].output}
    for i in range(min(nodes), len(graph.nodes)):
        if not reached.isdisjoint(graph.reads[i]):
            reached.update(graph.nodes[i].output)
    return not reached.isdisjoint(graph.outputs)


def _describe_layer(found: Comparison, group: Group) -> dict[str, Any]:
    match, a = found.match, group.at
    assert a is not None
    b = match.pairs[a]
    first, second = match.old.signature_of(a), match.new.signature_of(b)
    values = match.values.get(a)
    numbers = dict.fromkeys(_TABLE) if values is None else values.to_dict()
    return {
        "place": b, "old": match.old.output_of(a), "new": match.new.output_of(b),
        "old_op": match.old.side.graph.nodes[a].op_type, "new_op": match.new.side.graph.nodes[b].op_type, "status": group.status,
        "old_shape": list(first.shape) if first else [], "new_shape": list(second.shape) if second else [],
        "old_type": first.dtype if first else "", "new_type": second.dtype if second else "",
        "own_error": _measure_own(found, group), **numbers,
    }  # fmt: skip


TASKS: Mapping[str, Callable[[Mapping[str, Any], Advance], Mapping[str, Any]]] = {"diff": _diff, "sweep": sweep}
