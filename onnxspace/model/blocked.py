"""Graphs that ONNX Runtime saved for one kind of processor, with channels in blocks (`com.microsoft.nchwc`), in plain operators.

ONNX Runtime writes them at its highest level of optimisation. A blocked tensor is declared as [images, channels, …], but lies in
memory as [images, channels / block, …, block]; weights are in such an order too. The size of a block is that of the processor:
the file does not say it. See `nchwc_transformer.cc` and `reorder.cpp` of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.errors import ModelError
from onnxspace.model.blocked_rules import DOMAIN, RULES, Plain
from onnxspace.model.graph import describe_node
from onnxspace.model.network import Network, declare_array, is_large
from onnxspace.model.opset_rules import get_attribute
from onnxspace.model.runtime import run
from onnxspace.model.shapes import Shape, infer_shapes

_WAY_OUT = "Save it again with ORT_ENABLE_EXTENDED, or give the file before ONNX Runtime optimised it."


@cache
def find_block() -> int:
    """The number of channels in a block of ONNX Runtime on this machine's processor; 1 where it has no such kernels."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 4, 1, 1))
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=DOMAIN)
    graph = helper.make_graph([node], "block", [value], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    try:
        found = run(helper.make_model(graph, opset_imports=opsets, ir_version=8), {"x": np.zeros((1, 4, 1, 1), np.float32)})
    except Exception:  # ONNX Runtime's errors share no base class
        return 1
    return int(found[0].shape[1])


def unblock(path: str | Path, network: Network) -> Network:
    """Return the network with plain operators in place of those on blocks of channels; one without them is returned as it is.

    Tensors keep their names. `path` names the model in errors. Raises ModelError for a graph of another kind of processor, or
    with an operator that has no plain form.
    """
    if not any(node.domain == DOMAIN for node in network.proto.graph.node):
        return network
    shapes = {name: shape for name, (shape, _) in infer_shapes(_write(path, network, {}).proto, {}).items()}
    reordered = [node for node in network.graph.nodes if node.domain == DOMAIN and node.op_type == "ReorderInput"]
    return _write(path, network, {node.input[0]: _count_channels(node, shapes) for node in reordered})


def _count_channels(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Number of channels that a reordering reads; 0 where it is unknown, so that it counts as whole blocks."""
    shape = shapes.get(node.input[0], ())
    axis = -1 if get_attribute(node, "channels_last", 0) else 1
    return (shape[axis] or 0) if len(shape) > 1 else 0


def _write(path: str | Path, network: Network, channels: Mapping[str, int]) -> Network:
    plain, nodes = Plain(network.graph, find_block(), _standard_opset(network.proto), channels), list[onnx.NodeProto]()
    for node in network.graph.nodes:
        try:
            nodes += RULES[node.op_type](node, plain) if node.domain == DOMAIN else [node]
        except (KeyError, ValueError) as error:
            reason = str(error) if isinstance(error, ValueError) else "it has no plain form"
            raise ModelError(
                f"{path}: {describe_node(node)} on blocks of channels can't be converted ({reason}). {_WAY_OUT}"
            ) from error
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    del proto.graph.node[:], proto.graph.value_info[:]
    proto.graph.node.extend(nodes)
    return _with_arrays(proto, network, plain.arrays)


def _standard_opset(proto: onnx.ModelProto) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def _with_arrays(proto: onnx.ModelProto, network: Network, arrays: Mapping[str, NDArray[Any]]) -> Network:
    """The graph with further initialisers, in place of those that it no longer reads."""
    tensors = {name: numpy_helper.from_array(values, name) for name, values in arrays.items()}
    large = {name: arrays[name] for name, tensor in tensors.items() if is_large(tensor)}
    read = Network(proto).graph.consumers.keys() | {value.name for value in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.initializer.extend(declare_array(n, large[n]) if n in large else tensor for n, tensor in tensors.items())
    return Network(proto, {name: values for name, values in network.weights.items() if name in read} | large)
