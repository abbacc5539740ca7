"""How many parameters a network has, counted as frameworks do: what it learned, and not what steers its operators.

The rule: a stored tensor counts, once, where a layer, a normalisation, an embedding or arithmetic on what layers computed reads it,
if it has floating-point numbers, or integers that an operator of quantised networks reads as weights. What does not count: sizes,
axes, scales of Resize, limits of Clip, steps and zero points of a quantisation, running means and variances, single numbers of
arithmetic, and constants of arithmetic on pixels. A file can't tell a table that is learned from one that is computed, such as a
grid of anchors, and an exporter that merges a normalisation into a convolution leaves one vector instead of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import onnx

from onnxspace.model.graph import iter_nodes, subgraphs_of

_Type = onnx.TensorProto
_FLOATS = frozenset({_Type.FLOAT, _Type.FLOAT16, _Type.DOUBLE, _Type.BFLOAT16})
#: Operators all of whose constants are learned, whatever their size, but for those in `_SETTINGS`.
_LAYERS = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "DeformConv",
        "Gemm",
        "MatMul",
        "Einsum",
        "PRelu",
        "BatchNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "GroupNormalization",
        "RMSNormalization",
        "LSTM",
        "GRU",
        "RNN",
        "Gather",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "NhwcConv",
        "NhwcFusedConv",
        "EmbedLayerNormalization",
    ]
)
#: Operator → the places of inputs that are integers of a quantisation.
_INTEGERS = {
    "DequantizeLinear": {0}, "ConvInteger": {1}, "MatMulInteger": {1}, "MatMulIntegerToFloat": {1}, "DynamicQuantizeMatMul": {1},
    "QLinearConv": {3, 8}, "QLinearMatMul": {3}, "QGemm": {3, 6}, "QAttention": {1},
}  # fmt: skip
#: Operator → the first place from which on floating-point inputs steer it; 0 where all do.
_SETTINGS = {
    **dict.fromkeys(["Range", "ConstantOfShape", "OneHot", "NonMaxSuppression", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Where", "If", "Loop", "Scan", "AffineGrid", "QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QLinearConcat", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"], 0),
    **dict.fromkeys(["Resize", "Upsample", "Pad", "Clip", "Slice", "TopK", "Dropout", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Pow", "GridSample", "RoiAlign", "MaxRoiPool", "Expand", "Tile"], 1),
    "RotaryEmbedding": 2, "BatchNormalization": 3, "LSTM": 4, "GRU": 4, "RNN": 4,
}  # fmt: skip
#: Operators that hand on what they read in another arrangement or type, so that what reads their output decides.
_ARRANGING = frozenset(
    ["Identity", "Cast", "CastLike", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile", "Slice"]
)
_Stored = Mapping[str, onnx.TensorProto]


def count_parameters(proto: onnx.ModelProto) -> int:
    """The number of parameters of a model, by the rule above. A packed weight of MatMulNBits has as many as it stands for."""
    stored, nodes = dict(_iter_stored(proto.graph)), list(iter_nodes(proto.graph))
    origins, pixels = _trace_origins(nodes, stored), _find_pixels(proto.graph, nodes, stored)
    grouped = {node.output[0] for node in nodes if node.op_type == "Reshape"}
    learned = {
        origin
        for node in nodes
        if not (node.op_type == "InstanceNormalization" and node.input[0] in grouped)  # a group normalisation in pieces
        for place, name in enumerate(node.input)
        for origin in origins.get(name, ())
        if _is_learned(node, place, stored[origin], pixels)
    }
    return sum(map(_count_numbers, (stored[name] for name in learned))) + sum(map(_count_packed, nodes))


def _iter_stored(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initialisers and constants by name, those of nested graphs included."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], attribute.t
            for inner in subgraphs_of(attribute):
                yield from _iter_stored(inner)


def _trace_origins(nodes: Sequence[onnx.NodeProto], stored: _Stored) -> dict[str, frozenset[str]]:
    """Tensor → the stored ones of which it is an arrangement."""
    origins = {name: frozenset({name}) for name in stored}
    for node in nodes:
        if node.op_type in _ARRANGING and node.input[0] in origins:
            origins[node.output[0]] = origins[node.input[0]]
        elif node.op_type == "Concat" and all(name in origins for name in node.input):
            origins[node.output[0]] = frozenset().union(*(origins[name] for name in node.input))
    return origins


def _find_pixels(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], stored: _Stored) -> set[str]:
    """Names of tensors that are computed from inputs, and in front of all layers."""
    pixels = {value.name for value in graph.input} - stored.keys()
    behind: set[str] = set()
    for node in nodes:
        if (
            node.op_type in _LAYERS
            or node.op_type in _INTEGERS.keys() - {"DequantizeLinear"}
            or behind.intersection(node.input)
        ):
            behind.update(node.output)
        elif pixels.intersection(node.input):
            pixels.update(node.output)
    return pixels


def _is_learned(node: onnx.NodeProto, place: int, tensor: onnx.TensorProto, pixels: set[str]) -> bool:
    if tensor.data_type not in _FLOATS:
        return place in _INTEGERS.get(node.op_type, ())
    if node.op_type in _ARRANGING or place >= _SETTINGS.get(node.op_type, len(node.input)):
        return False
    return node.op_type in _LAYERS or (_count_numbers(tensor) > 1 and pixels.isdisjoint(node.input))


def _count_numbers(tensor: onnx.TensorProto) -> int:
    return int(math.prod(tensor.dims))


def _count_packed(node: onnx.NodeProto) -> int:
    """The weights that several to a byte are stored for this node."""
    sizes: dict[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
    return sizes.get("N", 0) * sizes.get("K", 0) if node.op_type == "MatMulNBits" else 0
