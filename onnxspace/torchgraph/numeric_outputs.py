"""The numeric part of a graph's outputs: classes by name become the numbers that they name, texts are left out."""

from __future__ import annotations

from dataclasses import replace

import onnx

from onnxspace.errors import ModelError
from onnxspace.model.graph import domain_of
from onnxspace.model.network import Network

_ML = "ai.onnx.ml"


def select_numeric_outputs(network: Network, path: str) -> Network:
    """Return `network` with outputs of numbers alone, and without the nodes that only other outputs need.

    A sequence of maps from classes to numbers (ZipMap, as scikit-learn's converter and Custom Vision write it) is the tensor of these
    numbers, at its place among the outputs; texts are left out. A network whose outputs are numbers is returned as it is. Raises
    ModelError for the file `path` where no output has numbers.
    """
    outputs = network.proto.graph.output
    names = [_find_numbers(network, value) for value in outputs]
    if names == [value.name for value in outputs]:
        return network
    kept = list(dict.fromkeys(name for name in names if name is not None))
    if not kept:
        described = ", ".join(value.name for value in outputs)
        raise ModelError(
            f"{path}: its outputs ({described}) are texts or maps, not tensors of numbers. Export it with one that is."
        )
    selected = network.with_outputs(kept)
    _keep_declared_types(selected.proto, outputs)
    _drop_unread_nodes(selected)
    return replace(selected, source=None)


def _find_numbers(network: Network, value: onnx.ValueInfoProto) -> str | None:
    """The tensor of numbers that an output stands for: itself, what a ZipMap names, or None."""
    place = network.graph.producer.get(value.name)
    node = None if place is None else network.graph.nodes[place]
    if node is not None and node.op_type == "ZipMap" and domain_of(node) == _ML:
        return node.input[0] if node.input else None
    return None if _holds_no_numbers(value.type) or _is_text(network, node) else value.name


def _holds_no_numbers(kind: onnx.TypeProto) -> bool:
    held = kind.WhichOneof("value")
    if held in ("sequence_type", "optional_type"):
        return _holds_no_numbers(getattr(kind, held).elem_type)
    return held == "map_type" or (held == "tensor_type" and kind.tensor_type.elem_type == onnx.TensorProto.STRING)


def _is_text(network: Network, node: onnx.NodeProto | None) -> bool:
    """Whether a node picks or makes texts, where the file does not declare the type of its output."""
    if node is None or domain_of(node) != _ML:
        return False
    stored = [network.graph.initializers.get(name) for name in node.input[:1]]
    picks = node.op_type == "ArrayFeatureExtractor" and any(
        t is not None and t.data_type == onnx.TensorProto.STRING for t in stored
    )
    return picks or any(attribute.name == "values_strings" and attribute.strings for attribute in node.attribute)


def _keep_declared_types(proto: onnx.ModelProto, before: list[onnx.ValueInfoProto]) -> None:
    declared = {value.name: value for value in before}
    for value in proto.graph.output:
        if value.name in declared:
            value.CopyFrom(declared[value.name])


def _drop_unread_nodes(network: Network) -> None:
    """Remove nodes that no output depends on, and declarations that are no longer read, in place."""
    graph = network.graph
    kept = [graph.nodes[i] for i in sorted(graph.ancestors_of(graph.outputs))]
    read = {name for i in graph.ancestors_of(graph.outputs) for name in graph.reads[i]}
    del network.proto.graph.node[:], network.proto.graph.value_info[:]
    network.proto.graph.node.extend(kept)
    stored = [tensor for tensor in network.proto.graph.initializer if tensor.name in read or tensor.name in graph.outputs]
    del network.proto.graph.initializer[:]
    network.proto.graph.initializer.extend(stored)
