"""Who is right where a converted graph and ONNX Runtime are a little apart: every node is judged on its own.

The runtime has fast kernels: its InstanceNormalization loses digits where a channel is nearly constant, its Sigmoid is
rough near zero. Behind such a node two right answers differ by more than rounding. So each node of the converted graph is
given what the runtime computed up to there, and must give what the runtime gives, or what the standard's own reference
implementation does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.graph import label, reads
from onnxspace.model.network import Network
from onnxspace.model.shapes import infer
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.verify import difference

_Values = Mapping[str, NDArray[Any]]


def every_node_agrees(part: Network, normal: Network, feed: _Values, allowed: float) -> bool:
    """Whether every node of `normal`, converted, is right on what ONNX Runtime feeds it, within `allowed`.

    False too where that can't be told: an operator that the runtime or the reference can't run alone.
    """
    try:
        given = {name: _widened(value) for name, value in feed.items()}
        outputs = runtime.run(normal, given)
        if difference(outputs, runtime.run(part, feed)) > allowed:
            return False
        values = given | _computed(normal, given)
        types = {name: elem_type for name, (_, elem_type) in infer(normal.proto, {}).items()}
        return all(_agrees(_alone(normal, node, values, types), values, allowed) for node in normal.graph.nodes)
    except Exception:  # a witness that can't be heard does not count
        return False


def _widened(value: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(value, np.float32) if value.dtype.kind in "fV" else value


def _computed(normal: Network, feed: _Values) -> dict[str, NDArray[Any]]:
    names = [name for node in normal.graph.nodes for name in node.output if name]
    return dict(zip(names, runtime.run(normal.with_outputs(names), feed), strict=True))


def _alone(normal: Network, node: onnx.NodeProto, values: _Values, types: Mapping[str, int]) -> Network:
    """A network of one node; what others computed is its input."""
    used = set(reads(node))
    proto = onnx.ModelProto(ir_version=normal.proto.ir_version, opset_import=normal.proto.opset_import)
    proto.graph.name = "alone"
    proto.graph.node.append(node)
    proto.graph.initializer.extend(t for t in normal.proto.graph.initializer if t.name in used)
    for name in dict.fromkeys(n for n in reads(node) if n in values):
        kind = types.get(name) or onnx.helper.np_dtype_to_tensor_dtype(values[name].dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values[name].shape))
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    return Network(proto, {name: array for name, array in normal.weights.items() if name in used})


def _agrees(alone: Network, values: _Values, allowed: float) -> bool:
    feed = {value.name: values[value.name] for value in alone.proto.graph.input}
    with torch.no_grad():
        made = build(alone, "the model")(*[torch.from_numpy(np.asarray(value)) for value in feed.values()])
    found = [output.numpy() for output in (made if isinstance(made, tuple) else (made,))]
    expected = [values[value.name] for value in alone.proto.graph.output]
    return difference(found, expected) <= allowed or difference(found, runtime.reference(alone, feed)) <= allowed


def first_departure(part: Network, normal: Network, feed: Mapping[str, NDArray[Any]], allowed: float) -> str | None:
    """The first node of `part`, in order, whose output differs from its converted counterpart in `normal`, by its name.

    None where that can't be told: every tensor that both graphs know agrees, or one of them can't be run.
    """
    kept = {name for node in normal.graph.nodes for name in node.output}
    made = [(node, name) for node in part.graph.nodes for name in node.output if name in kept]
    names = [name for _, name in made]
    try:
        expected = runtime.run(part.with_outputs(names), feed)
        graph = build(normal.with_outputs(names), "the model")
        with torch.no_grad():
            values = [torch.from_numpy(np.asarray(v, np.float32) if v.dtype.kind == "f" else v) for v in feed.values()]
            found = graph(*values)
    except Exception:  # the search is a help for a message: where it fails, the message does without
        return None
    listed = list(found) if isinstance(found, (tuple, list)) else [found]
    for (node, _), ours, theirs in zip(made, listed, expected, strict=True):
        if isinstance(ours, torch.Tensor) and difference([ours.numpy()], [theirs]) > allowed:
            return label(node)
    return None
