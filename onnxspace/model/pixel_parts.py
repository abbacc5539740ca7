"""The part of a graph below some tensors, and how much of it can be run within bounded work and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx

from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.graph import Graph, domain_of, names_read_by
from onnxspace.model.image_input import ImageInput
from onnxspace.model.network import Network
from onnxspace.model.pixel_images import CANDIDATES
from onnxspace.model.shapes import infer_shapes, multiply_adds, refuse_large_tensors

MOST_IMAGES = 8
#: Multiply-adds for all images and candidates together: some seconds of one core.
MOST_WORK = 2**35
#: Pixels of all images together: eight of 724 × 724.
MOST_PIXELS = 2**22
_MOST_NODES = 1000
#: Operators that may lie below the first layers and normalisations; none has a body, and each ends after one pass over its input.
_OPERATORS = frozenset({
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv",
    "DepthToSpace", "DequantizeLinear", "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather",
    "Gelu", "Gemm", "GlobalAveragePool", "Greater", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "LeakyRelu", "Less", "Log", "LRN", "MatMul", "Max", "MaxPool", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pad",
    "Pow", "QuantizeLinear", "Range", "ReduceMean", "Relu", "Reshape", "Resize", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Slice",
    "Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tanh", "Transpose", "Unsqueeze",
    "Upsample", "Where",
})  # fmt: skip
_POSITIVE = frozenset({"group", "strides", "dilations", "kernel_shape", "blocksize"})


class ImageNetwork(Protocol):
    """What is measured: a graph, the input that takes the image, and how images get their size; `Model` is one."""

    @property
    def network(self) -> Network: ...

    @property
    def image(self) -> ImageInput: ...

    @property
    def preprocess(self) -> Preprocess: ...


@dataclass(frozen=True)
class Tensor:
    """A tensor to be measured: its name, and the axis of its channels."""

    name: str
    axis: int = 1


def plan_work(model: ImageNetwork, tensors: Sequence[Tensor]) -> tuple[Network, int]:
    """Plan a measurement: the part of the graph below as many of the first `tensors` as may be run, and the number of images.

    Raises ValueError where not even the first may be, ModelError for a graph with a tensor that is too large.
    """
    for count in range(len(tensors), 0, -1):
        part = extract_part(model, [tensor.name for tensor in tensors[:count]])
        images = MOST_WORK // (_count_work(model, part) * len(CANDIDATES)) if may_run(part) else 0
        if images:
            refuse_large_tensors(part.proto, {model.image.name: _shape_of_input(model)}, "the graph")
            return part, min(images, count_images(model.preprocess))
    raise ValueError("the first layer alone takes too long, or has other operators below it")


def may_run(part: Network) -> bool:
    """Whether a part is short and has only operators that end soon, with settings that are positive where they must be."""
    nodes = part.proto.graph.node
    return len(nodes) <= _MOST_NODES and all(
        domain_of(node) == "" and node.op_type in _OPERATORS and _is_positive(node) for node in nodes
    )


def _is_positive(node: onnx.NodeProto) -> bool:
    values = [value for a in node.attribute if a.name in _POSITIVE for value in (*a.ints, *([a.i] if a.type == a.INT else []))]
    return min(values, default=1) >= 1


def count_images(preprocess: Preprocess) -> int:
    """How many images of this size are held at once."""
    return min(MOST_IMAGES, max(1, MOST_PIXELS // (preprocess.height * preprocess.width)))


def _count_work(model: ImageNetwork, part: Network) -> int:
    """Multiply-adds of a part for one image; a layer of unknown size counts as one that keeps the image's size."""
    shapes = infer_shapes(part.proto, {model.image.name: _shape_of_input(model)})
    counted = multiply_adds(part.graph, shapes)
    unknown = sum(_count_weights(part.graph, i) for i, work in counted.items() if not work)
    return max(1, sum(counted.values()) + unknown * model.preprocess.height * model.preprocess.width)


def _count_weights(graph: Graph, index: int) -> int:
    stored = [graph.initializers[name].dims for name in graph.nodes[index].input if name in graph.initializers]
    return max((math.prod(dims) for dims in stored), default=0)


def _shape_of_input(model: ImageNetwork) -> tuple[int, ...]:
    p, batch = model.preprocess, model.image.batch or 1
    return (batch, p.channels, p.height, p.width) if p.layout == "NCHW" else (batch, p.height, p.width, p.channels)


def extract_part(model: ImageNetwork, tensors: Sequence[str]) -> Network:
    """Extract the graph from the image to `tensors`, which become its outputs. Raises ValueError where it needs another input."""
    graph, source = model.network.graph, model.network.proto
    nodes = [graph.nodes[i] for i in sorted(graph.ancestors_of(tensors))]
    needed = {name for node in nodes for name in names_read_by(node)}
    if others := {v.name for v in graph.inputs if v.name in needed} - {model.image.name}:
        raise ValueError(f"they need the inputs {', '.join(sorted(others))}")
    part = onnx.ModelProto(ir_version=max(source.ir_version, 4), opset_import=source.opset_import)
    part.graph.name = "part"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in source.graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(t for t in source.graph.sparse_initializer if t.values.name in needed)
    part.graph.input.extend(v for v in source.graph.input if v.name == model.image.name)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return Network(part, {name: values for name, values in model.network.weights.items() if name in needed})
