"""Rewriting of a graph from batches of N images to one image.

Exporters that fix the batch at N write it into the targets of reshapes, into shapes that tensors are expanded to, and into constants
that they have repeated. Where each of these is that of one image, the graph is what an export with a batch of one would have been.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.model import runtime
from onnxspace.model.graph import Graph
from onnxspace.model.network import Network, separate_weights
from onnxspace.model.shapes import Shape, infer_shapes, with_input_shapes

#: The input that holds a shape, by operator.
_SHAPES = {"Reshape": 1, "Expand": 1, "Resize": 3}
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Where", "Max", "Min", "Sum", "Pow", "PRelu", "And", "Or"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_STATES = (5, 6)  # inputs of recurrent networks that hold a state for each image, on axis 1


class BatchReduction:
    """The rewriting of `source`, whose input `name` takes batches like `batch` [N, …], for batches of one image.

    Nodes are rewritten in the order of the graph. On which axis a tensor has the images is seen by comparing its shape at N with that
    at 1 in the graph as far as it is rewritten.
    """

    def __init__(self, source: Network, name: str, batch: NDArray[Any]) -> None:
        self.source, self.name, self.batch = source, name, batch
        self.shape = (1, *batch.shape[1:])
        self.proto = with_input_shapes(source.proto, {name: self.shape})
        self.graph = Graph(self.proto, source.weights)
        self.live = {name} | {o for i in self.graph.descendants_of(name) for o in self.graph.nodes[i].output if o}
        self.at_size = {tensor: shape for tensor, (shape, _) in infer_shapes(source.proto, {name: batch.shape}).items()}
        self._measure_unknown()
        self.folded = self._fold_constants()
        self._at_one: dict[str, Shape] | None = None
        #: How many entries of the images' axis lie before the second image, where a reshape has merged an axis in front into it.
        self._before: dict[str, int] = {}

    def network(self) -> Network:
        """Return the rewritten network, which shares the weights."""
        for node in self.graph.nodes:
            lead = [name for name in node.input if name in self.live]
            if lead:
                self._before |= dict.fromkeys(node.output, max(self._before.get(name, 1) for name in lead))
                self._reduce_node(node)
        rewritten = separate_weights(self.proto)
        return Network(rewritten.proto, {**self.source.weights, **rewritten.weights})

    def _reduce_node(self, node: onnx.NodeProto) -> None:
        if node.op_type in _SHAPES and node.input[0] in self.live:
            self._reduce_target(node, _SHAPES[node.op_type])
        elif node.op_type in _RECURRENT:
            for place in _STATES:
                self._take_first(node, place, 1, len(self.batch), 1)
        elif node.op_type in _ELEMENTWISE or node.op_type == "Concat":
            self._reduce_operands(node)

    def _measure_unknown(self) -> None:
        """Measure the shapes at N that inference can't determine, of what reshapes and joining nodes read and write."""
        nodes = [node for node in self.graph.nodes if node.op_type in {*_SHAPES, *_ELEMENTWISE, "Concat"}]
        names = {name for node in nodes for name in (*node.input, *node.output)} & self.live
        unknown = sorted(name for name in names if None in self.at_size.get(name, (None,)))
        with suppress(Exception):  # ONNX Runtime's errors share no base class; what is not known stays as it is
            found = runtime.Runner(self.source.with_outputs(unknown))({self.name: self.batch}, runtime.SIZING_SECONDS)
            self.at_size |= {name: np.shape(value) for name, value in zip(unknown, found, strict=True)}

    def _measure_at_one(self, name: str) -> Shape:
        """Measure a shape at 1 by running what is below, which is rewritten already."""
        network = Network(self.proto, self.source.weights)
        kept = [network.graph.nodes[i] for i in sorted(network.graph.ancestors_of([name]))]
        part = network.with_outputs([name])
        del part.proto.graph.node[:]
        part.proto.graph.node.extend(kept)
        with suppress(Exception):  # ONNX Runtime's errors share no base class
            return np.shape(runtime.Runner(part)({self.name: self.batch[:1]}, runtime.SIZING_SECONDS)[0])
        return ()

    def _fold_constants(self) -> dict[str, NDArray[Any]]:
        """The values of constants that nodes compute and nodes of the image read."""
        read = {name for node in self.graph.nodes if set(node.input) & self.live for name in node.input}
        names = sorted(name for name in read & self.graph.constants if self.graph.constant(name) is None)
        with suppress(Exception):  # ONNX Runtime's errors share no base class; what is not known stays as it is
            found = runtime.evaluate(self.source.with_outputs(names), {self.name: self.batch}) if names else []
            return dict(zip(names, found, strict=True))
        return {}

    def _value_of(self, name: str) -> NDArray[Any] | None:
        return self.folded[name] if name in self.folded else self.graph.constant(name)

    def _axis_of(self, name: str) -> tuple[int, int, int] | None:
        """The axis of `name` that has the images, with its sizes at N and at 1; None where it is not known."""
        if self._at_one is None:
            self._at_one = {t: shape for t, (shape, _) in infer_shapes(self.proto, {self.name: self.shape}).items()}
        if None in self._at_one.get(name, (None,)):
            self._at_one[name] = self._measure_at_one(name)
        many, one = self.at_size.get(name, ()), self._at_one[name]
        if len(many) != len(one):
            return None
        differing = [axis for axis, (n, m) in enumerate(zip(many, one, strict=True)) if n != m]
        if len(differing) != 1 or None in (many[differing[0]], one[differing[0]]):
            return None
        return differing[0], int(many[differing[0]] or 0), int(one[differing[0]] or 0)

    def _reduce_target(self, node: onnx.NodeProto, place: int) -> None:
        target = self._value_of(node.input[place]) if len(node.input) > place else None
        if target is None or target.ndim != 1 or target.dtype.kind not in "iu":
            return
        if (found := self._axis_of(node.input[0])) is None:
            return
        axis, many, one = found
        if node.op_type == "Reshape":
            self._reduce_reshape(node, target, found)
        else:
            place_of = len(target) - len(self.at_size[node.input[0]]) + axis
            self._store(node, place, _reduce_size(target, place_of, many, one))

    def _reduce_reshape(self, node: onnx.NodeProto, target: NDArray[Any], found: tuple[int, int, int]) -> None:
        axis, many, one = found
        source, output = self.at_size[node.input[0]], self.at_size.get(node.output[0], ())
        full = (
            [t if n is None else n for n, t in zip(output, target.tolist(), strict=True)] if len(output) == len(target) else []
        )
        if None in source[:axis] or not full:
            return
        outer = math.prod(n for n in source[:axis] if n is not None) * self._before[node.output[0]]
        if (place := find_axis(full, outer)) is not None:
            self._before[node.output[0]] = outer // math.prod(full[:place])
            self._store(node, 1, _reduce_size(target, place, many, one))

    def _reduce_operands(self, node: onnx.NodeProto) -> None:
        """Take the part of one image of each operand that was repeated for every image."""
        others = [place for place, name in enumerate(node.input) if name and name not in self.live]
        lead = next(name for name in node.input if name in self.live)
        if not others or (found := self._axis_of(lead)) is None:
            return
        axis, many, one = found
        for place in others:
            rank = len(self._shape_of(node.input[place]))
            at = axis if node.op_type == "Concat" else rank - len(self.at_size[lead]) + axis
            self._take_first(node, place, at, many, one)

    def _shape_of(self, name: str) -> Shape:
        value = self._value_of(name)
        return self.at_size.get(name, ()) if value is None else value.shape

    def _take_first(self, node: onnx.NodeProto, place: int, axis: int, many: int, one: int) -> None:
        """Let a node read the first `one` of `many` entries along an axis of its input."""
        name = node.input[place] if place < len(node.input) else ""
        shape = self._shape_of(name) if name else ()
        if not 0 <= axis < len(shape) or shape[axis] != many or name in self.live:
            return
        index, taken = f"{node.output[0]}__images_{place}", f"{node.output[0]}__one_{place}"
        self.proto.graph.initializer.append(numpy_helper.from_array(np.arange(one), index))
        position = next(i for i, other in enumerate(self.proto.graph.node) if other.output[:1] == node.output[:1])
        self.proto.graph.node.insert(position, helper.make_node("Gather", [name, index], [taken], axis=axis))
        node.input[place] = taken
        self._at_one = None

    def _store(self, node: onnx.NodeProto, place: int, value: NDArray[Any] | None) -> None:
        if value is None:
            return
        name = f"{node.output[0]}__one_{place}"
        self.proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.int64), name))
        node.input[place] = name
        self._at_one = None


def find_axis(shape: Sequence[int], outer: int) -> int | None:
    """Find the axis of `shape` on which consecutive images lie, if `outer` entries of the axes in front precede the second one.

    >>> find_axis((49, 32, 64), 49)
    1
    """
    before = 1
    for place, n in enumerate(shape):
        if n < 1:
            return None
        if before * n > outer:
            return place
        before *= n
    return None


def _reduce_size(target: NDArray[Any], place: int, many: int, one: int) -> NDArray[Any] | None:
    if not 0 <= place < len(target) or target[place] <= 0 or target[place] * one % many:
        return None
    reduced = np.array(target)
    reduced[place] = target[place] * one // many
    return reduced
