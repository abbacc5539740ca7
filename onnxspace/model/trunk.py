"""The trunk: what lies between a model's image and its outputs, how much work it is, and where it could be cut.

An output from which another one is computed by last layers at most is a tensor on the way, such as the tokens of which a network
gives the first once more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import onnx

from onnxspace.model.answers import find_behind_answers, is_ramp
from onnxspace.model.bottlenecks import find_bottlenecks
from onnxspace.model.cut import cut
from onnxspace.model.graph import SHAPE_ONLY, Graph
from onnxspace.model.image_groups import shape_of_one
from onnxspace.model.model import Model
from onnxspace.model.records import Candidate, Encoder
from onnxspace.model.runtime import shapes_of
from onnxspace.model.shapes import Shape, count_elements, infer_shapes, multiply_adds

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}


class Trunk:
    """The nodes between a model's image and its outputs, with the shapes of all tensors for one image."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph: Graph = model.graph
        self.shapes = self._take_one(infer_shapes(model.proto, {model.image.name: model.input_shape}))
        self.work = multiply_adds(self.graph, self.shapes)
        below_image = self.graph.descendants_of(model.image.name)
        self.nodes = sorted(below_image & self.graph.ancestors_of(self.graph.outputs))
        self.parametric = [i for i in self.nodes if self.graph.is_parametric(i) and not is_ramp(self.graph, i)]
        self._measure_unknown()
        behind = find_behind_answers(self.graph, self.shapes, self.work, self.parametric)
        self.parametric = [i for i in self.parametric if i not in behind]

    def _measure_unknown(self) -> None:
        """Measure the shapes that ONNX's inference could not determine, by one run on an image of zeros."""
        layers = [self.graph.nodes[i] for i in self.parametric]
        wanted = [name for node in layers for name in (node.output[0], *node.input) if name in self.tensors]
        last = self.last_outputs()
        wanted += [*find_bottlenecks(self.graph, self.nodes, self.model.image.name, last), *last]
        unknown = [name for name in dict.fromkeys(wanted) if count_elements(self.shape_of(name)) is None]
        if not unknown:
            return
        try:
            part = cut(self.model, Encoder(tuple(unknown), ""))
            found = shapes_of(part, unknown, self.model.input_shape)
        except Exception:  # ONNX Runtime can't run it either: the sizes stay unknown
            return
        kinds = {name: self.shapes[name][1] if name in self.shapes else onnx.TensorProto.UNDEFINED for name in found}
        self.shapes |= self._take_one({name: (shape, kinds[name]) for name, shape in found.items()})
        self.work = multiply_adds(self.graph, self.shapes)

    def _take_one(self, shapes: Mapping[str, tuple[Shape, int]]) -> dict[str, tuple[Shape, int]]:
        """The `shapes` of tensors as they are for one image, where the network takes several at a time."""
        size = self.model.images_at_once
        if size == 1:
            return dict(shapes)
        stored = self.graph.constants
        return {name: (shape if name in stored else shape_of_one(shape, size), kind) for name, (shape, kind) in shapes.items()}

    @cached_property
    def tensors(self) -> set[str]:
        """Tensors whose values depend on the image and reach an output."""
        computed = {name for i in self.nodes for name in self.graph.nodes[i].output if name}
        return computed | {self.model.image.name}

    @cached_property
    def node_set(self) -> set[int]:
        """The trunk's nodes as a set; nodes that read only a tensor's shape are not among them."""
        return set(self.nodes)

    def last_outputs(self) -> list[str]:
        """Outputs that depend on the image, and from which no other output is computed."""
        return list(self._last_outputs)

    @cached_property
    def _last_outputs(self) -> dict[str, None]:
        names = [name for name in self.graph.outputs if name in self.tensors]
        read = {name for name in names if any(self.graph.nodes[i].op_type not in SHAPE_ONLY for i in self.users_of(name))}
        return dict.fromkeys(name for name in names if name not in read)

    def bottlenecks(self) -> list[str]:
        """Names of the tensors that every path from the image to an output passes through, in topological order."""
        return list(self._bottlenecks)

    @cached_property
    def _bottlenecks(self) -> tuple[str, ...]:
        outputs = [name for name in self.graph.outputs if name in self.tensors and not self._is_on_the_way(name)]
        return find_bottlenecks(self.graph, self.nodes, self.model.image.name, outputs)

    def _is_on_the_way(self, output: str) -> bool:
        """Whether another output is computed from this one, and trained nodes that depend on it feed no other trained nodes."""
        users = self.users_of(output)
        return output not in self._last_outputs and not any(self._reach_hidden[i] or self._is_hidden(i) for i in users)

    @cached_property
    def _reach_hidden(self) -> dict[int, bool]:
        """Whether a parametric node that feeds others lies above each node."""
        found: dict[int, bool] = {}
        for i in reversed(self.nodes):
            found[i] = any(found[j] or self._is_hidden(j) for j in self.successors(i))
        return found

    def _is_hidden(self, index: int) -> bool:
        return index in self.parametric_set and self.feeds_parametric(index)

    def candidates(self) -> list[Candidate]:
        """Bottlenecks of floating-point type with parametric nodes both below and above them, that need no other input."""
        names = [name for name in self._bottlenecks if self._lies_between_layers(name)]
        names = [name for name in names if self.is_float(name) and not self.needs_others(name)]
        below = self._shares_below(names)
        return [Candidate(name, self.shape_of(name), below[name]) for name in names]

    def _lies_between_layers(self, name: str) -> bool:
        return 0 < bisect_right(self.parametric, self.graph.producer[name]) < len(self.parametric)

    def needs_others(self, name: str) -> bool:
        """Whether the tensor `name` depends on an input of the graph besides the image."""
        return self.graph.producer[name] in self._needing_others

    @cached_property
    def _needing_others(self) -> set[int]:
        """Nodes that depend on an input of the graph besides the image."""
        others = {value.name for value in self.graph.inputs} - {self.model.image.name}
        return self.graph.readers_of(others) if others else set()

    def _shares_below(self, names: Sequence[str]) -> dict[str, float]:
        """`share_below` of each of `names`, of which every one depends on the one before."""
        total, found = self._total_work, {}
        work = count = 0
        for name, layers in self._nest(names):
            work, count = work + sum(self.work[i] for i in layers), count + len(layers)
            found[name] = self._to_share(work, count, total)
        return found

    def count_trained_below(self, names: Sequence[str]) -> dict[str, int]:
        """Return the number of trained nodes that each of `names` depends on; every one depends on the one before."""
        count, found = 0, {}
        for name, layers in self._nest(names):
            count += len(layers)
            found[name] = count
        return found

    def _nest(self, names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
        """Each of `names` with the trained nodes below it that are not below the one before, in one pass over the graph."""
        under: set[int] = set()
        for name in names:
            new = self.graph.ancestors_of([name], but=under)
            under |= new
            yield name, [i for i in new if i in self.parametric_set]

    @cached_property
    def parametric_set(self) -> frozenset[int]:
        """The parametric nodes as a set."""
        return frozenset(self.parametric)

    def share_below(self, tensors: list[str]) -> float:
        """Share (0 to 1) of the multiply-adds on which `tensors` depend; of the parametric nodes where no size is known."""
        under = self.graph.ancestors_of(tensors) & self.parametric_set
        return self._to_share(sum(self.work[i] for i in under), len(under), self._total_work)

    def _to_share(self, work: int, count: int, total: int) -> float:
        return work / total if total else count / max(1, len(self.parametric))

    @property
    def _total_work(self) -> int:
        return sum(self.work[i] for i in self.parametric)

    def is_float(self, name: str) -> bool:
        """Whether the tensor `name` is of a floating-point type, or of an unknown one."""
        return name not in self.shapes or self.shapes[name][1] in FLOATS | {onnx.TensorProto.UNDEFINED}

    def shape_of(self, name: str) -> Shape | None:
        """The shape of the tensor `name` for one image; None where it is unknown."""
        return self.shapes[name][0] if name in self.shapes else None

    def is_trained(self, name: str) -> bool:
        """Whether the tensor `name` depends on a parametric node."""
        return self.graph.producer.get(name) in self._trained

    @cached_property
    def _trained(self) -> set[int]:
        """Parametric nodes of the trunk, and all nodes that depend on them."""
        outputs = {name for i in self.parametric for name in self.graph.nodes[i].output if name}
        return self.graph.readers_of(outputs) | self.parametric_set

    def feeds_parametric(self, index: int) -> bool:
        """Whether a parametric node depends on the node at `index`."""
        return self._reach_parametric[index]

    @cached_property
    def _reach_parametric(self) -> dict[int, bool]:
        found: dict[int, bool] = {}
        for i in reversed(self.nodes):
            found[i] = any(found[j] or j in self.parametric_set for j in self.successors(i))
        return found

    def successors(self, index: int) -> list[int]:
        """Nodes of the trunk that read an output of the node at `index`."""
        return [j for name in self.graph.nodes[index].output for j in self.users_of(name)]

    def users_of(self, name: str) -> list[int]:
        """Nodes of the trunk that read the tensor `name`."""
        return [i for i in self.graph.consumers.get(name, []) if i in self.node_set]

    def count_channels(self, index: int) -> int | None:
        """Channels that the parametric node at `index` computes; None where its shape is unknown."""
        shape = self.shape_of(self.graph.nodes[index].output[0])
        return None if not shape else shape[1] if self._is_convolution(index) and len(shape) > 1 else shape[-1]

    def count_positions(self, index: int) -> int | None:
        """Positions at which the parametric node at `index` computes its channels; None where its shape is unknown."""
        values, channels = count_elements(self.shape_of(self.graph.nodes[index].output[0])), self.count_channels(index)
        return values // channels if values is not None and channels else None

    def _is_convolution(self, index: int) -> bool:
        return "Conv" in self.graph.nodes[index].op_type
