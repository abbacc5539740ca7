"""Graphs of opsets below 7, for which ONNX Runtime has few kernels, written in opset 7: same tensors, same function.

Only what runs a graph or infers its shapes reads this form. The Torch graph is built from the file's own operators, so a
comparison of both tests both.
"""

from __future__ import annotations

from dataclasses import replace

import onnx

from onnxspace.model.graph import domain_of, iter_nodes, subgraphs_of
from onnxspace.model.network import Network
from onnxspace.model.opset_rules import RANKED, Form, Rule, align_node, get_attribute, rewrite_node, treat_as_spatial

#: The oldest opset whose operators ONNX Runtime implements.
OLDEST = 7
_NOT_SPATIAL = 9  # from this opset on, BatchNormalization has no attribute `spatial`


def raise_opset(network: Network) -> Network:
    """Return the network in opset 7 where its opset is lower, else itself; tensors keep their names.

    BatchNormalization with `spatial` 0 and one value per channel, as MXNet writes it up to opset 8, becomes spatial. Raises
    ValueError where the newer operators can't express a node: in training mode, or aligned to a tensor of unknown shape.

    >>> model = onnx.parser.parse_model('<ir_version: 3, opset_import: ["": 6]> g (float[2] x) => (float[2] y) {y = Exp(x)}')
    >>> raise_opset(Network(model)).proto.opset_import[0].version
    7
    """
    opset = _standard_opset(network.proto)
    if opset >= _NOT_SPATIAL or (opset >= OLDEST and not _has_per_activation(network.proto)):
        return network
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    form = Form(network.graph, opset, {})
    if opset >= OLDEST:
        _apply(proto.graph, form, treat_as_spatial)
        return Network(proto, network.weights, network.source)
    _set_opset(proto, OLDEST)
    _apply(proto.graph, form, rewrite_node)
    _apply(proto.graph, replace(form, ranks=_find_ranks(proto)), align_node)
    return Network(proto, network.weights, network.source)


def _standard_opset(proto: onnx.ModelProto) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=_NOT_SPATIAL)


def _set_opset(proto: onnx.ModelProto, version: int) -> None:
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version


def _has_per_activation(proto: onnx.ModelProto) -> bool:
    return any(node.op_type == "BatchNormalization" and get_attribute(node, "spatial") == 0 for node in iter_nodes(proto.graph))


def _apply(graph: onnx.GraphProto, form: Form, rule: Rule) -> None:
    """Rewrite the nodes of a graph and of its subgraphs in place; a rule yields the nodes to insert before its own."""
    nodes: list[onnx.NodeProto] = []
    for given in graph.node:
        node = onnx.NodeProto.FromString(given.SerializeToString())
        for attribute in node.attribute:
            for inner in subgraphs_of(attribute):
                _apply(inner, form, rule)
        nodes += [*(rule(node, form) if not domain_of(node) else ()), node]
    del graph.node[:]
    graph.node.extend(nodes)


def _find_ranks(proto: onnx.ModelProto) -> dict[str, int]:
    """Numbers of axes, from a copy in which each node that is not yet in its new form passes on its first input."""
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    for node in plain.graph.node:
        if node.op_type in RANKED and not domain_of(node):
            node.CopyFrom(onnx.helper.make_node("Identity", [node.input[0]], list(node.output)))
    try:
        inferred = onnx.shape_inference.infer_shapes(plain).graph
    except Exception:  # RuntimeErrors on unusual graphs: only the shapes recorded in the file remain
        inferred = plain.graph
    values = [v for v in (*inferred.input, *inferred.value_info, *inferred.output) if v.type.tensor_type.HasField("shape")]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    return ranks | {tensor.name: len(tensor.dims) for tensor in proto.graph.initializer}
