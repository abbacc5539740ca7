"""Rules of the first linear layers, whose input is the image: their gradient at the image is the relevance.

Operators that only move, pad or rescale pixels belong to the image: relevance passes through them unchanged. Where their values also
bypass the first layers, the gradient that returns on that path is turned into relevance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.attribution.lrp.autograd import redirect_gradient, substitute_value
from onnxspace.torchgraph.view import operator_of

_MOVING = frozenset(
    {
        "Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad", "Slice", "Split", "Concat", "Gather",
        "Dropout", "Crop",
    }
)  # fmt: skip
_RESCALING = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization", "ImageScaler", "Neg"})


@dataclass(frozen=True)
class ImageRegion:
    """The part of a graph that belongs to the image: its `nodes`, and the `first` linear nodes after it."""

    nodes: tuple[Node, ...]
    first: tuple[Node, ...]


def find_image_region(graph: GraphModule, computed: set[Node], is_linear: Callable[[Node], bool]) -> ImageRegion:
    """Find the part of `graph` that belongs to the image: nodes that move or rescale pixels of nodes that belong to it.

    `computed` are the nodes that depend on the image, `is_linear` tells nodes with a rule of weights.
    """
    nodes: dict[Node, None] = {}
    for node in graph.graph.nodes:
        given = [n for n in node.all_input_nodes if n in computed]
        inside = bool(given) and all(n in nodes for n in given)
        if node.op == "placeholder" or (inside and _belongs(node, len(given))):
            nodes[node] = None
    first = [n for n in graph.graph.nodes if is_linear(n) and any(g in nodes for g in n.all_input_nodes)]
    return ImageRegion(tuple(nodes), tuple(first))


def _belongs(node: Node, given: int) -> bool:
    name = operator_of(node)
    return node.op == "call_function" or name in _MOVING or (name in _RESCALING and given == 1)


class RelevancePassThrough(nn.Module):
    """A rescaling of the image, `function`, through which relevance passes unchanged."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = self.function(*inputs)
        source = next((x for x in inputs if x.requires_grad), None)
        return out if source is None else redirect_gradient(out, (source, torch.ones_like(out)))


class Bound(nn.Module):
    """A bound of the image's values, [1, channels, 1, 1] or broadcastable to the image, expanded to the image's shape."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.detach().clone())

    def forward(self, image: Tensor) -> Tensor:
        value = self.value
        assert isinstance(value, Tensor)
        return value.to(image.dtype).expand_as(image)


def turn_into_relevance(x: Tensor) -> Tensor:
    """Return `x`; its gradient times `x`, which is relevance, is passed on."""
    return substitute_value(x, x) if x.requires_grad else x


def add_bounds(graph: GraphModule, found: ImageRegion, bounds: tuple[Tensor, Tensor]) -> dict[Node, tuple[Node, Node]]:
    """Add two nodes to `graph` for every node of the region `found`: its values for an image at the lower and at the upper bound.

    `bounds` are as in `apply_rules`. Returns the pairs of new nodes by node.
    """
    pairs: dict[Node, tuple[Node, Node]] = {}
    for side, value in enumerate(bounds):
        graph.add_submodule(f"Bound_{side}", Bound(value))
    for node in found.nodes:
        with graph.graph.inserting_after(node):
            if node.op == "placeholder":
                pair = [graph.graph.call_module(f"Bound_{side}", (node,)) for side in (0, 1)]
            else:
                pair = [graph.graph.node_copy(node, lambda n, s=side: pairs[n][s] if n in pairs else n) for side in (0, 1)]  # type: ignore[misc]
        pairs[node] = (pair[0], pair[1])
    return pairs


def close_image_region(graph: GraphModule, found: ImageRegion) -> None:
    """Turn the gradient into relevance where values leave the region other than into a first layer; let it pass rescalings."""
    for node in found.nodes:
        if operator_of(node) in _RESCALING:
            graph.add_submodule(str(node.target), RelevancePassThrough(graph.get_submodule(str(node.target))))
        outside = [user for user in node.users if user not in found.nodes and user not in found.first]
        outside = [user for user in outside if not str(user.target).startswith("Bound_")]
        if outside:
            with graph.graph.inserting_after(node):
                relevant = graph.graph.call_function(turn_into_relevance, (node,))
            for user in outside:
                user.replace_input_with(node, relevant)
