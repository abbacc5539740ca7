"""Verification operator by operator: each is fed with ONNX Runtime's own intermediate values, and compared with its next ones.

So a fault shows at its operator in full size, however little of it reaches the outputs, and what a network makes of rounding
does not count. Where values differ, a second opinion decides (`onnxspace/torchgraph/second_opinion.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from torch import fx

from onnxspace.errors import ConversionError
from onnxspace.model import runtime
from onnxspace.model.graph import describe_node, names_read_by
from onnxspace.model.network import Network
from onnxspace.model.shapes import count_elements, infer_shapes
from onnxspace.torchgraph.build import POSITION, TENSOR
from onnxspace.torchgraph.second_opinion import compare_values, extract_nodes, is_confirmed
from onnxspace.torchgraph.verify import describe_difference, difference

#: Bytes of intermediate values that are compared at a time.
_AT_ONCE = 2**27


def check_nodes(graph: fx.GraphModule, normal: Network, feed: Mapping[str, Any], path: str) -> bool:
    """Compare every operator of `graph` with ONNX Runtime, both fed with the runtime's values.

    `graph` is what `build` made of the normalised network `normal`, before its canonical form; `feed` holds the inputs by name,
    `path` names the model in errors. Returns False where the comparison is not complete, because ONNX Runtime can't be asked for
    intermediate values, or an operator fails on them. Raises ConversionError naming the first operator that differs.
    """
    check = _NodeCheck(graph, normal, widen_inputs(feed), path)
    compared = [check.compare(positions) for positions in _divide(normal, feed)]
    return all(compared)


def widen_inputs(feed: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs `feed`, by name, in single precision where they are floating-point numbers."""
    return {name: _widen(value) for name, value in feed.items()}


def _widen(value: Any) -> Any:
    value = np.asarray(value) if isinstance(value, np.generic) else value
    return np.asarray(value, np.float32) if isinstance(value, np.ndarray) and value.dtype.kind in "fV" else value


def _to_torch(value: Any) -> Any:
    """A sequence of arrays as one of tensors; a missing optional value stays None."""
    return None if value is None else [torch.from_numpy(np.asarray(_widen(item))) for item in value]


def _divide(normal: Network, feed: Mapping[str, Any]) -> Iterator[list[int]]:
    """Divide the nodes into runs whose outputs take up to `_AT_ONCE` bytes."""
    shapes = infer_shapes(normal.proto, {name: np.shape(v) for name, v in feed.items() if isinstance(v, np.ndarray)})
    run, room = list[int](), _AT_ONCE
    for position, node in enumerate(normal.graph.nodes):
        size = sum(4 * (count_elements(shapes[name][0]) or 0) for name in node.output if name in shapes)
        if run and size > room:
            yield run
            run, room = [], _AT_ONCE
        run.append(position)
        room -= size
    if run:
        yield run


class _NodeCheck:
    """Compares runs of nodes; keeps the element types that the Torch graph gives to tensors, and values that are no arrays."""

    def __init__(self, graph: fx.GraphModule, normal: Network, feed: Mapping[str, Any], path: str) -> None:
        self.graph, self.normal, self.feed, self.path = graph, normal, feed, path
        self.calls = {node.meta[POSITION]: node for node in graph.graph.nodes if POSITION in node.meta}
        self.types: dict[str, torch.dtype] = {}
        self.own = {name: _to_torch(value) for name, value in feed.items() if not isinstance(value, np.ndarray)}
        self.values: dict[str, Any] = dict(feed)
        self.last_read = {name: position for position, names in enumerate(normal.graph.reads) for name in names}
        self.kinds = {name: kind for name, (_, kind) in infer_shapes(normal.proto, {}).items()}

    def compare(self, positions: list[int]) -> bool:
        """Compare the nodes at `positions`; False where one of them could not be compared."""
        try:
            self.values |= self._run_part(positions)
        except Exception:  # a value that is no tensor passes from part to part
            try:
                self.values |= self._run_whole(positions)
            except Exception:  # ONNX Runtime's errors share no base class
                return False
        compared = [self._compare_node(position) for position in positions]
        self.values = {name: value for name, value in self.values.items() if self.last_read.get(name, -1) > positions[-1]}
        return all(compared)

    def _run_part(self, positions: list[int]) -> dict[str, Any]:
        """The values that ONNX Runtime computes in some nodes from those before them, which are held."""
        nodes = [self.normal.graph.nodes[position] for position in positions]
        part = extract_nodes(self.normal, nodes, self.values, self.kinds)
        names = [value.name for value in part.proto.graph.output]
        found = runtime.run(part, {value.name: self.values[value.name] for value in part.proto.graph.input})
        return dict(zip(names, found, strict=True))

    def _run_whole(self, positions: list[int]) -> dict[str, Any]:
        """The values that some nodes read and compute, from a run of the whole network."""
        nodes = [self.normal.graph.nodes[position] for position in positions]
        names = dict.fromkeys(name for node in nodes for name in (*names_read_by(node), *node.output) if name)
        asked = [name for name in names if name in self.normal.graph.producer]
        found = runtime.run(self.normal.with_outputs(asked), self.feed)
        return {**self.feed, **dict(zip(asked, found, strict=True))}

    def _compare_node(self, position: int) -> bool:
        node, call = self.normal.graph.nodes[position], self.calls[position]
        try:
            with torch.no_grad():
                result = self._call(call)
        except Exception:  # it fails in the whole graph as well, or on values of an unforeseen type, which is not verified
            return False
        parts = result if isinstance(result, (tuple, list)) and len(node.output) > 1 else [result]
        for name, ours in zip(node.output, parts, strict=False):
            if name:
                self._compare_tensor(node, name, ours)
        return True

    def _call(self, call: fx.Node) -> Any:
        args = fx.map_arg(call.args, self._value_of)
        named = fx.map_arg(call.kwargs, self._value_of)
        return self.graph.get_submodule(str(call.target))(*args, **named)

    def _value_of(self, node: fx.Node) -> Any:
        """The value of a node of the graph: a weight, or what ONNX Runtime computes, in the type that the graph gives it."""
        if TENSOR not in node.meta:
            return self.graph.get_buffer(str(node.target))
        name = node.meta[TENSOR]
        if name in self.own:
            return self.own[name]
        tensor = torch.from_numpy(np.asarray(self.values[name]))
        return tensor.to(self.types.get(name, tensor.dtype))

    def _compare_tensor(self, node: onnx.NodeProto, name: str, ours: Any) -> None:
        theirs = self.values.get(name)
        if not isinstance(ours, torch.Tensor) or not isinstance(theirs, np.ndarray):
            self.own[name] = ours
            return
        self.types[name] = ours.dtype
        gap = compare_values(node.op_type, ours.numpy(), theirs)
        if gap > 1 and not is_confirmed(self.normal, node, name, ours.numpy(), self.values):
            size = difference([ours.numpy()], [theirs])
            raise ConversionError(
                f"{self.path}: the converted graph differs from ONNX Runtime ({describe_difference(size)}, first at "
                f"{describe_node(node)}). Name an --encoder below it, or export the model at opset 17."
            )
