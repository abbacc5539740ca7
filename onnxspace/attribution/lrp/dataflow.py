"""What a converted graph's tensors are to a rule: computed from the image or not, possibly negative or not."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.view import constant_value, operator_of

#: Operators whose outputs carry no gradient.
_CUT = frozenset(
    {
        "Shape", "Size", "ArgMax", "ArgMin", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor",
        "Not", "IsNaN", "IsInf", "NonZero", "ConstantOfShape", "Range", "EyeLike", "Sign", "Floor", "Ceil", "Round",
    }
)  # fmt: skip
_POSITIVE = frozenset({"Sigmoid", "HardSigmoid", "Softplus", "Softmax", "Abs", "Exp", "Relu"})
#: Operators that make nothing negative of one tensor that is not, whatever else they take.
_KEEPING = frozenset(
    {
        "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax", "Flatten",
        "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Slice", "Split", "Expand", "Tile", "Gather",
        "DepthToSpace", "SpaceToDepth",
    }
)  # fmt: skip
_JOINING = frozenset({"Add", "Sum", "Mul", "Concat", "Max", "Mean"})


def find_computed(graph: GraphModule) -> set[Node]:
    """The nodes that a gradient can reach: all that depends on an input, except over operators without a derivative."""
    found: set[Node] = set()
    for node in graph.graph.nodes:
        reached = any(given in found for given in node.all_input_nodes)
        if node.op == "placeholder" or (reached and operator_of(node) not in _CUT):
            found.add(node)
    return found


def is_rectifier(module: nn.Module) -> bool:
    """Whether a module clips at zero, as Clip does where its lower bound is stored."""
    return isinstance(module, (nn.ReLU, nn.ReLU6)) or (getattr(module, "low", None) == 0 and hasattr(module, "high"))


def upper_bound(module: nn.Module) -> float | None:
    """Where a rectifier clips above; None where it does not."""
    high = 6.0 if isinstance(module, nn.ReLU6) else getattr(module, "high", None)
    return None if high is None else float(high)


def find_nonnegative(graph: GraphModule) -> set[Node]:
    """The nodes whose values can't be negative, as far as operators say."""
    found: set[Node] = set()
    for node in graph.graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "call_function":  # one of several outputs
            sure = inputs[0] in found
        elif operator_of(node) in _JOINING:
            sure = all(given in found or _is_nonnegative(constant_value(graph, given)) for given in inputs)
        else:
            sure = node.op == "call_module" and _makes_nonnegative(graph, node, bool(inputs) and inputs[0] in found)
        if sure:
            found.add(node)
    return found


def _is_nonnegative(value: torch.Tensor | None) -> bool:
    return value is not None and value.is_floating_point() and bool((value >= 0).all())


def _makes_nonnegative(graph: GraphModule, node: Node, kept: bool) -> bool:
    name, module = operator_of(node), graph.get_submodule(str(node.target))
    return name in _POSITIVE or (name in _KEEPING and kept) or is_rectifier(module)


def is_rectified(graph: GraphModule, node: Node) -> bool:
    """Whether nothing but ReLU reads a node."""
    return bool(node.users) and all(
        operator_of(user) == "Relu" or (user.op == "call_module" and is_rectifier(graph.get_submodule(str(user.target))))
        for user in node.users
    )
