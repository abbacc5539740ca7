"""Verification node by node, where a converted graph and ONNX Runtime differ by slightly more than rounding.

ONNX Runtime has approximate kernels: its InstanceNormalization loses digits where a channel is nearly constant, its Sigmoid
is inexact near zero. After such a node two correct results differ by more than rounding. So each node of the converted
graph is fed with the runtime's own intermediate values, and must agree with the runtime or with the ONNX reference
implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.graph import describe_node, names_read_by
from onnxspace.model.network import Network
from onnxspace.model.shapes import infer_shapes
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.verify import difference

_Values = Mapping[str, NDArray[Any]]


def every_node_agrees(part: Network, normal: Network, feed: _Values, allowed: float) -> bool:
    """Whether every converted node of `normal`, fed with ONNX Runtime's intermediate values, is correct within `allowed`.

    `part` is the original graph, `normal` the normalised one, `feed` the inputs by name, `allowed` the largest relative
    difference. Also False where a node can't be run on its own.
    """
    try:
        given = {name: _widen(value) for name, value in feed.items()}
        outputs = runtime.run(normal, given)
        if difference(outputs, runtime.run(part, feed)) > allowed:
            return False
        values = given | _compute_tensors(normal, given)
        types = {name: elem_type for name, (_, elem_type) in infer_shapes(normal.proto, {}).items()}
        return all(_agrees(_extract_node(normal, node, values, types), values, allowed) for node in normal.graph.nodes)
    except Exception:  # a node that can't be run is not verified
        return False


def _widen(value: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(value, np.float32) if value.dtype.kind in "fV" else value


def _compute_tensors(normal: Network, feed: _Values) -> dict[str, NDArray[Any]]:
    names = [name for node in normal.graph.nodes for name in node.output if name]
    return dict(zip(names, runtime.run(normal.with_outputs(names), feed), strict=True))


def _extract_node(normal: Network, node: onnx.NodeProto, values: _Values, types: Mapping[str, int]) -> Network:
    """A network of one node, with computed tensors as its inputs."""
    used = set(names_read_by(node))
    proto = onnx.ModelProto(ir_version=normal.proto.ir_version, opset_import=normal.proto.opset_import)
    proto.graph.name = "alone"
    proto.graph.node.append(node)
    proto.graph.initializer.extend(t for t in normal.proto.graph.initializer if t.name in used)
    for name in dict.fromkeys(n for n in names_read_by(node) if n in values):
        kind = types.get(name) or onnx.helper.np_dtype_to_tensor_dtype(values[name].dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values[name].shape))
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    return Network(proto, {name: array for name, array in normal.weights.items() if name in used})


def _agrees(alone: Network, values: _Values, allowed: float) -> bool:
    feed = {value.name: values[value.name] for value in alone.proto.graph.input}
    with torch.no_grad():
        result = build(alone, "the model")(*[torch.from_numpy(np.asarray(value)) for value in feed.values()])
    found = [output.numpy() for output in (result if isinstance(result, tuple) else (result,))]
    expected = [values[value.name] for value in alone.proto.graph.output]
    return difference(found, expected) <= allowed or difference(found, runtime.run_reference(alone, feed)) <= allowed


def find_first_difference(part: Network, normal: Network, feed: Mapping[str, NDArray[Any]], allowed: float) -> str | None:
    """Find the first node of `part` whose output differs from the converted graph by more than `allowed`; returns its name.

    `part` is the original graph, `normal` the normalised one, `feed` the inputs by name. None where all tensors that both
    graphs contain agree, or where one of the graphs can't be run.
    """
    kept = {name for node in normal.graph.nodes for name in node.output}
    outputs = [(node, name) for node in part.graph.nodes for name in node.output if name in kept]
    names = [name for _, name in outputs]
    try:
        expected = runtime.run(part.with_outputs(names), feed)
        graph = build(normal.with_outputs(names), "the model")
        with torch.no_grad():
            values = [torch.from_numpy(np.asarray(v, np.float32) if v.dtype.kind == "f" else v) for v in feed.values()]
            found = graph(*values)
    except Exception:  # only a detail of a message, which is omitted where the search fails
        return None
    listed = list(found) if isinstance(found, (tuple, list)) else [found]
    for (node, _), ours, theirs in zip(outputs, listed, expected, strict=True):
        if isinstance(ours, torch.Tensor) and difference([ours.numpy()], [theirs]) > allowed:
            return describe_node(node)
    return None
