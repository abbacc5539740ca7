"""Signs that binarise activations get the gradient that their network was trained with.

The derivative of Sign is zero, so that nothing would reach the image of a binary network. Such networks are trained with a
straight-through estimator: the gradient of the identity where the input lies between -1 and 1, and zero elsewhere (Courbariaux et
al. 2016, arXiv 1602.02830). That holds for a Sign whose values are multiplied with weights and used for nothing else; any other
one, such as in `sign(x) · log(1 + |x|)`, keeps its derivative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.view import is_scalar, module_of, operator_of, submodule_name

#: Operator name of a Sign that binarises.
BINARIZE = "Binarize"
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: What keeps binary values binary, up to a shift by a scalar: larq writes `Sign(Sign(x) + 0.1)`.
_PASSING = frozenset(
    {"Identity", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Dropout", "Cast", "MaxPool"}
)
_SHIFTS = frozenset({"Add", "Sub", "Mul", "Div"})


class Binarize(nn.Module):
    """A function with values of Sign, and the gradient of the identity: where |x| ≤ 1, or everywhere unless `clipped`."""

    def __init__(self, inner: nn.Module, clipped: bool) -> None:
        super().__init__()
        self.inner, self.clipped = inner, clipped

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.inner(x)
        passing = torch.clamp(x, -1, 1) if self.clipped else x
        return values.detach() + (passing - passing.detach())


def binarize_signs(graph: GraphModule) -> None:
    """Replace every Sign of `graph` whose values are multiplied with weights alone, in place, by a submodule `Binarize_<k>`."""
    for node in list(graph.graph.nodes):
        if operator_of(node) == "Sign" and _reaches_products(graph, node):
            name = submodule_name(BINARIZE, node)
            graph.add_submodule(name, Binarize(module_of(graph, node), clipped=not _follows_sign(graph, node)))
            node.target = name


def _reaches_products(graph: GraphModule, node: Node) -> bool:
    """Whether all that is computed from a node's values comes to products with weights, up to which they stay binary."""
    return bool(node.users) and all(
        _is_product(user) or (_stays_binary(graph, user) and _reaches_products(graph, user)) for user in node.users
    )


def _is_product(node: Node) -> bool:
    return operator_of(node) in _PRODUCTS


def _stays_binary(graph: GraphModule, node: Node) -> bool:
    if operator_of(node) in _SHIFTS:
        return any(is_scalar(graph, given) for given in node.all_input_nodes)
    return operator_of(node) in _PASSING | {"Sign", BINARIZE}


def _follows_sign(graph: GraphModule, node: Node) -> bool:
    """Whether the input of a Sign is binary already."""
    source = node.all_input_nodes[0]
    while operator_of(source) in _PASSING | _SHIFTS and _stays_binary(graph, source):
        source = next((given for given in source.all_input_nodes if not is_scalar(graph, given)), source.all_input_nodes[0])
    return operator_of(source) in ("Sign", BINARIZE)
