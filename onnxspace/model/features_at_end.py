"""The features that a network ends with, where nothing trained follows them: pooled values, a class token, or a feature map.

An output is a feature where the nodes behind the last trained ones add it to what was computed before, as the last block of a
residual network does, or pool it after an activation. Answers, such as classes, boxes or pictures, come from a last trained node.
"""

from __future__ import annotations

from onnxspace.model.records import Candidate
from onnxspace.model.shapes import count_elements
from onnxspace.model.trunk import Trunk

#: Channels that a feature has at least; answers such as masks, boxes and pictures mostly have fewer. Outputs that are looked at.
_LEAST, _MOST_OUTPUTS = 16, 64
_DECIDING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Hardmax", "ArgMax", "TopK"})
_MOVING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity", "DequantizeLinear"})
_POOLING = frozenset(
    {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "AveragePool", "MaxPool", "QLinearGlobalAveragePool"}
)
_REDUCING = frozenset({"ReduceMean", "ReduceMax", "ReduceSum"})
_JOINING = frozenset({"Add", "Sum", "Concat", "SkipLayerNormalization", "QLinearAdd", "QLinearConcat"})
_ACTIVE = frozenset({
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Gelu", "Erf",
    "Tanh", "Softplus", "Softsign", "ThresholdedRelu",
})  # fmt: skip


def find_features_at_end(trunk: Trunk) -> Candidate | None:
    """Find the narrowest tensor behind the last trained nodes of a network that ends with features; None for any other.

    Of equally narrow ones the last is returned, of several outputs the first.
    """
    names = [name for name in trunk.last_outputs()[:_MOST_OUTPUTS] if trunk.is_float(name) and not trunk.needs_others(name)]
    found = [_narrowest_in(trunk, name, tail) for name in names if (tail := _feature_tail(trunk, name))]
    sized = [one for one in found if one.elements is not None]
    return min(sized or found, key=lambda one: one.elements or 0, default=None)


def _narrowest_in(trunk: Trunk, output: str, tail: set[int]) -> Candidate:
    """The output, or a bottleneck of its tail that has fewer values."""
    inside = [name for name in trunk.bottlenecks() if trunk.graph.producer[name] in tail and trunk.is_float(name)]
    sized = [name for name in dict.fromkeys([*inside, output]) if count_elements(trunk.shape_of(name)) is not None]
    fewest = min((count_elements(trunk.shape_of(name)) or 0 for name in sized), default=0)
    last = [name for name in sized if count_elements(trunk.shape_of(name)) == fewest][-1:] or [output]
    return Candidate(last[0], trunk.shape_of(last[0]), trunk.share_below(last))


def _feature_tail(trunk: Trunk, output: str) -> set[int]:
    """The nodes between the last trained ones and an output that is a feature; empty for any other output."""
    ends = trunk.graph.sources_of([output], trunk.parametric_set)
    tail = trunk.graph.ancestors_of([output], but=trunk.parametric_set) & trunk.node_set
    last = {i for i in ends if not trunk.feeds_parametric(i)}
    channels = [trunk.count_channels(i) or 0 for i in last]
    if not last or min(channels) < _LEAST or _is_decision(trunk, output):
        return set()
    tail = {i for i in tail if not trunk.feeds_parametric(i)}
    pooled = all(count % _LEAST == 0 for count in channels) and _is_pooled(trunk, tail)
    return tail if pooled or any(_joins_trunk(trunk, i) for i in tail) else set()


def _is_decision(trunk: Trunk, output: str) -> bool:
    """Whether an output is a probability or a choice, but for its shape."""
    node = trunk.graph.nodes[trunk.graph.producer[output]]
    while node.op_type in _MOVING and node.input[0] in trunk.graph.producer:
        node = trunk.graph.nodes[trunk.graph.producer[node.input[0]]]
    return node.op_type in _DECIDING


def _joins_trunk(trunk: Trunk, index: int) -> bool:
    """Whether a node joins what the last trained nodes computed with a tensor on which these depend and that is trained itself."""
    if trunk.graph.nodes[index].op_type not in _JOINING:
        return False
    read = [name for name in trunk.graph.reads[index] if name in trunk.tensors and name != trunk.model.image.name]
    below = [name for name in read if trunk.feeds_parametric(trunk.graph.producer[name])]
    return len(below) < len(read) and any(map(trunk.is_trained, below))


def _is_pooled(trunk: Trunk, tail: set[int]) -> bool:
    """Whether the nodes `tail` pool positions after an activation."""
    for i in sorted(tail):
        if _pools(trunk, i):
            below = trunk.graph.ancestors_of(trunk.graph.nodes[i].input[:1], but=trunk.parametric_set)
            return any(trunk.graph.nodes[j].op_type in _ACTIVE for j in below & tail)
    return False


def _pools(trunk: Trunk, index: int) -> bool:
    """Whether a node pools positions: a reduction does where it leaves a single number per channel, in any layout."""
    node = trunk.graph.nodes[index]
    shape = trunk.shape_of(node.output[0])
    reduces = node.op_type in _REDUCING and shape is not None and sum(size != 1 for size in shape[1:]) == 1
    return reduces or node.op_type in _POOLING
