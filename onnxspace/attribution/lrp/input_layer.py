"""Rules of the layers that see the image: what is between, and the relevance that arrives in place of a gradient.

Operators that only move, pad or rescale pixels belong to the image: relevance passes through them as it is. Where such values also
go elsewhere, around the first layers, the gradient that comes back from there is turned into relevance.
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
    """The part of a graph that belongs to its image: nodes there, and the linear nodes right behind it."""

    nodes: tuple[Node, ...]
    first: tuple[Node, ...]


def find_image_region(graph: GraphModule, computed: set[Node], is_linear: Callable[[Node], bool]) -> ImageRegion:
    """Find it: a node belongs to the image where all it computes from does."""
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
    """A rescaling of the image through which relevance passes as it is."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.no_grad():
            made: Tensor = self.function(*inputs)
        source = next((x for x in inputs if x.requires_grad), None)
        return made if source is None else redirect_gradient(made, (source, torch.ones_like(made)))


class Bound(nn.Module):
    """A bound of the image's values, [1, channels, 1, 1] or what broadcasts to the image, in the image's shape."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.detach().clone())

    def forward(self, image: Tensor) -> Tensor:
        value = self.value
        assert isinstance(value, Tensor)
        return value.to(image.dtype).expand_as(image)


def turn_into_relevance(x: Tensor) -> Tensor:
    """`x`, through which a gradient becomes relevance."""
    return substitute_value(x, x) if x.requires_grad else x


def add_bounds(graph: GraphModule, found: ImageRegion, bounds: tuple[Tensor, Tensor]) -> dict[Node, tuple[Node, Node]]:
    """For every node of the front, two new nodes: what it would be for an image at the lower and at the upper bound."""
    made: dict[Node, tuple[Node, Node]] = {}
    for side, value in enumerate(bounds):
        graph.add_submodule(f"Bound_{side}", Bound(value))
    for node in found.nodes:
        with graph.graph.inserting_after(node):
            if node.op == "placeholder":
                pair = [graph.graph.call_module(f"Bound_{side}", (node,)) for side in (0, 1)]
            else:
                pair = [graph.graph.node_copy(node, lambda n, s=side: made[n][s] if n in made else n) for side in (0, 1)]  # type: ignore[misc]
        made[node] = (pair[0], pair[1])
    return made


def close_image_region(graph: GraphModule, found: ImageRegion) -> None:
    """Make relevance of what leaves the front anywhere but into a first layer, and let it pass rescalings."""
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
