"""The encoder: which tensor represents the image, and the graph cut at that tensor.

`auto` considers bottlenecks: tensors that every path from the image to the outputs passes through, with trained layers on
both sides. Networks without one in their later half (detectors with several heads) are cut where the heads branch off.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice

import onnx

from onnxspace.errors import ModelError
from onnxspace.model.graph import Graph, names_read_by
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.records import Candidate as Candidate
from onnxspace.model.records import Encoder as Encoder
from onnxspace.model.runtime import shapes_of
from onnxspace.model.shapes import Shape, count_elements, infer_shapes, multiply_adds

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
#: Bottlenecks are considered only if at least this share of the multiply-adds lies below one of them.
ENOUGH_BELOW = 0.5


class Trunk:
    """The nodes between a model's image and its outputs, with the shapes of all tensors for one image."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph: Graph = model.graph
        self.shapes = infer_shapes(model.proto, {model.image.name: model.input_shape})
        self.work = multiply_adds(self.graph, self.shapes)
        below_image = self.graph.descendants_of(model.image.name)
        self.nodes = sorted(below_image & self.graph.ancestors_of(self.graph.outputs))
        self.parametric = [i for i in self.nodes if self.graph.is_parametric(i)]
        self._measure_unknown()

    def _measure_unknown(self) -> None:
        """Measure the shapes that ONNX's inference could not determine, by one run on an image of zeros."""
        wanted = [self.graph.nodes[i].output[0] for i in self.parametric] + self.bottlenecks()
        unknown = [name for name in dict.fromkeys(wanted) if count_elements(self._shape(name)) is None]
        inputs = [self.graph.nodes[i].input[0] for i in self.parametric if self.graph.nodes[i].op_type == "ConvTranspose"]
        unknown += [name for name in inputs if count_elements(self._shape(name)) is None and name in self.tensors]
        if not unknown:
            return
        try:
            part = cut(self.model, Encoder(tuple(unknown), ""))
            found = shapes_of(part, unknown, self.model.input_shape)
        except Exception:  # ONNX Runtime can't run it either: the sizes stay unknown
            return
        for name, shape in found.items():
            known = self.shapes.get(name)
            self.shapes[name] = (shape, known[1] if known else onnx.TensorProto.UNDEFINED)
        self.work = multiply_adds(self.graph, self.shapes)

    @cached_property
    def tensors(self) -> set[str]:
        """Tensors whose values depend on the image and reach an output."""
        computed = {name for i in self.nodes for name in self.graph.nodes[i].output if name}
        return computed | {self.model.image.name}

    def _last_use(self, name: str) -> int:
        uses = [i for i in self.graph.consumers.get(name, []) if i in self._node_set]
        return len(self.graph.nodes) if name in self._output_set else max(uses, default=-1)

    @cached_property
    def _node_set(self) -> set[int]:
        """The trunk's nodes as a set; nodes that read only a tensor's shape are not among them."""
        return set(self.nodes)

    @cached_property
    def _output_set(self) -> frozenset[str]:
        return frozenset(self.graph.outputs)

    def bottlenecks(self) -> list[str]:
        """Names of the tensors that every path from the image to an output passes through, in topological order.

        Every node on such a path is an ancestor or a descendant of the tensor, so right after it is computed it is the only
        tensor that is still needed.
        """
        return list(self._bottlenecks)

    @cached_property
    def _bottlenecks(self) -> tuple[str, ...]:
        image = self._last_use(self.model.image.name)
        ends = {name: self._last_use(name) for i in self.nodes for name in self.graph.nodes[i].output if name}
        due = Counter([image, *ends.values()])
        needed, found, passed = int(image >= 0), [], -1
        for i in self.nodes:
            needed -= sum(due[end] for end in range(passed + 1, i + 1))
            passed = i
            later = [name for name in self.graph.nodes[i].output if name and ends[name] > i]
            needed += len(later)
            if needed == 1 and later:
                found.append(later[-1])
        return tuple(found)

    def candidates(self) -> list[Candidate]:
        """Bottlenecks of floating-point type with parametric nodes both below and above them, that need no other input."""
        names = [name for name in self._bottlenecks if self._lies_between_layers(name)]
        names = [name for name in names if self.is_float(name) and self.graph.producer[name] not in self._needing_others]
        below = self._shares_below(names)
        return [Candidate(name, self._shape(name), below[name]) for name in names]

    def _lies_between_layers(self, name: str) -> bool:
        return 0 < bisect_right(self.parametric, self.graph.producer[name]) < len(self.parametric)

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
            yield name, [i for i in new if i in self._parametric_set]

    @cached_property
    def _parametric_set(self) -> frozenset[int]:
        return frozenset(self.parametric)

    def share_below(self, tensors: list[str]) -> float:
        """Share (0 to 1) of the multiply-adds on which `tensors` depend; of the parametric nodes where no size is known."""
        under = self.graph.ancestors_of(tensors) & self._parametric_set
        return self._to_share(sum(self.work[i] for i in under), len(under), self._total_work)

    def _to_share(self, work: int, count: int, total: int) -> float:
        return work / total if total else count / max(1, len(self.parametric))

    @property
    def _total_work(self) -> int:
        return sum(self.work[i] for i in self.parametric)

    def is_float(self, name: str) -> bool:
        """Whether the tensor `name` is of a floating-point type, or of an unknown one."""
        return name not in self.shapes or self.shapes[name][1] in FLOATS | {onnx.TensorProto.UNDEFINED}

    def _shape(self, name: str) -> Shape | None:
        return self.shapes[name][0] if name in self.shapes else None

    def head_roots(self) -> list[str]:
        """Names of the tensors at which the heads branch off the trunk.

        A head ends in a last parametric node; nodes that two or more of these depend on are shared. With one such end there
        are no heads, and the inputs of that last node are returned.
        """
        ends = [i for i in self.parametric if not self._feeds_parametric(i)]
        reached = self._ends_reached(ends)
        shared = {i for i in self.nodes if len(reached[i]) >= 2}
        if not shared:
            return self._inputs_of(ends)
        leaving = [n for i in sorted(shared) for n in self.graph.nodes[i].output if self._is_branch_point(n, shared, reached)]
        trained = [name for name in leaving if self.is_float(name) and self._is_trained(name)]
        return trained or self._inputs_of(ends)

    def _is_trained(self, name: str) -> bool:
        """Whether a parametric node lies below a tensor."""
        return self.graph.producer.get(name) in self._trained

    @cached_property
    def _trained(self) -> set[int]:
        """Parametric nodes of the trunk, and all nodes that depend on them."""
        outputs = {name for i in self.parametric for name in self.graph.nodes[i].output if name}
        return self.graph.readers_of(outputs) | self._parametric_set

    def _is_branch_point(self, name: str, shared: set[int], reached: dict[int, frozenset[int]]) -> bool:
        users = [i for i in self.graph.consumers.get(name, []) if i in self._node_set]
        return any(i not in shared and reached[i] for i in users)

    def _feeds_parametric(self, index: int) -> bool:
        return bool(self._reach_parametric[index])

    @cached_property
    def _reach_parametric(self) -> dict[int, bool]:
        """Whether a parametric node lies above each node."""
        found: dict[int, bool] = {}
        for i in reversed(self.nodes):
            users = self._users(i)
            found[i] = any(found[j] or self.graph.is_parametric(j) for j in users)
        return found

    def _users(self, index: int) -> list[int]:
        names = self.graph.nodes[index].output
        return [j for name in names for j in self.graph.consumers.get(name, []) if j in self._node_set]

    def _ends_reached(self, ends: Sequence[int]) -> dict[int, frozenset[int]]:
        """At most two of the `ends` that lie above each node, which tell nodes of one head from shared ones."""
        last = frozenset(ends)
        reached: dict[int, frozenset[int]] = {}
        for i in reversed(self.nodes):
            own = last & {i}
            reached[i] = frozenset(islice(sorted(own.union(*(reached[j] for j in self._users(i)))), 2))
        return reached

    def _inputs_of(self, ends: list[int]) -> list[str]:
        names = [n for i in ends for n in self.graph.nodes[i].input if n in self.tensors and n != self.model.image.name]
        return list(dict.fromkeys(name for name in names if self.is_float(name) and self._is_trained(name)))


def find_encoder(model: Model, trunk: Trunk | None = None) -> Encoder:
    """Find the encoder of a model: the one that the user named, or the one that `auto` selects.

    `trunk` is the model's trunk if it has been computed already. Raises ModelError where the named tensor does not exist or
    does not depend on the image, and where the model has no trained layer.
    """
    if model.encoder != "auto":
        return Encoder((_find_named_tensor(model, model.encoder),), "named by the user")
    trunk = trunk or Trunk(model)
    if not trunk.parametric:
        raise ModelError(
            f"{model.path} has no Conv, Gemm or MatMul with weights between its image and its outputs: "
            "nothing to explain. Leave it out."
        )
    return _find_narrowest_bottleneck(trunk) or _find_heads(trunk) or _use_outputs(trunk)


def _find_narrowest_bottleneck(trunk: Trunk) -> Encoder | None:
    candidates = trunk.candidates()
    sized = [c for c in candidates if c.elements is not None]
    if not sized or max(c.below for c in candidates) < ENOUGH_BELOW:
        return None
    fewest = min(c.elements or 0 for c in sized)
    best = [c for c in sized if c.elements == fewest][-1]
    return Encoder((best.tensor,), f"narrowest bottleneck: {fewest} values per image")


def _find_heads(trunk: Trunk) -> Encoder | None:
    roots = trunk.head_roots()
    if not roots:
        return None
    if len(roots) == 1:
        return Encoder((roots[0],), "no bottleneck carries half of the network: its last features before the final layer")
    return Encoder(
        tuple(roots), f"no bottleneck carries half of the network: the {len(roots)} tensors at which its heads leave"
    )


def _use_outputs(trunk: Trunk) -> Encoder:
    names = tuple(n for n in trunk.graph.outputs if n in trunk.tensors and trunk.is_float(n))
    if not names:
        raise ModelError(f"{trunk.model.path}: no output of a floating-point type depends on the image. Name an --encoder.")
    return Encoder(names, "a single trained layer: the network's own output")


def _find_named_tensor(model: Model, wanted: str) -> str:
    """The tensor named `wanted`, or the first output of the node of that name, if it depends on the image."""
    graph = model.graph
    reached = graph.descendants_of(model.image.name)
    tensor = wanted if wanted in graph.producer else None
    by_node = [node.output[0] for node in graph.nodes if node.name == wanted and node.output]
    tensor = tensor or (by_node[0] if by_node else None)
    if tensor is None:
        raise ModelError(
            f"{model.path} has no tensor or node named {wanted!r}. "
            f"`onnxspace inspect {model.path}` lists the encoder candidates."
        )
    if graph.producer[tensor] not in reached:
        raise ModelError(f"{model.path}: {wanted!r} does not depend on the image. Name another encoder.")
    return tensor


def cut(model: Model, encoder: Encoder) -> Network:
    """Extract the graph from the image to the encoder's tensors, which become its outputs.

    Weights are shared with the model. Raises ModelError where that part needs an input besides the image.
    """
    graph = model.graph
    kept = sorted(graph.ancestors_of(encoder.tensors))
    nodes = [graph.nodes[i] for i in kept]
    needed = {name for node in nodes for name in names_read_by(node)}
    others = [v.name for v in graph.inputs if v.name in needed and v.name != model.image.name]
    if others:
        raise ModelError(
            f"{model.path} needs the input(s) {', '.join(others)} besides the image below its encoder. "
            "State their values in [models.NAME.inputs] of onnxspace.toml, or name an encoder below them."
        )
    weights = {name: values for name, values in model.network.weights.items() if name in needed}
    return Network(_assemble(model, nodes, needed, encoder), weights)


def _assemble(model: Model, nodes: list[onnx.NodeProto], needed: set[str], encoder: Encoder) -> onnx.ModelProto:
    source = model.proto
    part = onnx.ModelProto(ir_version=max(source.ir_version, 4), producer_name=source.producer_name)
    part.opset_import.extend(source.opset_import)
    part.graph.name = source.graph.name or "cut"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in source.graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(t for t in source.graph.sparse_initializer if t.values.name in needed)
    part.graph.input.extend(v for v in source.graph.input if v.name == model.image.name)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in encoder.tensors)
    _type_outputs(part, model)
    return part


def _type_outputs(part: onnx.ModelProto, model: Model) -> None:
    """Give the new outputs the types and shapes that inference finds; the batch axis is open where the model's is."""
    known = infer_shapes(part, {model.image.name: (model.image.batch, *model.input_shape[1:])})
    for value in part.graph.output:
        if value.name in known:
            shape, elem_type = known[value.name]
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, elem_type, shape))
