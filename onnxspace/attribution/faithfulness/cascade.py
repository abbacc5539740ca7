"""Randomisation of a network's weights, layer by layer from its end to its beginning.

J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim, "Sanity checks for saliency maps", NeurIPS 2018: the cascading test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.model.graph import PARAMETRIC
from onnxspace.torchgraph.view import constant_value, operator_of


@dataclass(frozen=True)
class Stage:
    """A network of which the last `layers` layers with weights are randomised."""

    layers: int
    graph: GraphModule


def list_layers(graph: GraphModule) -> list[str]:
    """Return the names of the nodes with trained weights, from the network's end to its beginning."""
    return [node.name for node in reversed(list(graph.graph.nodes)) if any(_iter_weights(graph, node))]


def choose_stages(layers: int, stages: int) -> list[int]:
    """Return how many layers are randomised at each stage: evenly spaced, all of them last.

    >>> choose_stages(12, 5), choose_stages(2, 5)
    ([2, 5, 7, 10, 12], [1, 2])
    """
    return sorted({round(layers * k / stages + 1e-9) or 1 for k in range(1, stages + 1)}) if layers else []


def scale_stages(counts: Sequence[int], layers: int, others: int) -> list[int]:
    """Return for each of `counts`, of so many `layers`, how many of a part's `others` layers are the same share of it.

    Attentions are below a network's last layers, so a graph that ends at them has fewer.

    >>> scale_stages([2, 5, 10], 10, 8), scale_stages([1, 2], 2, 1)
    ([2, 4, 8], [1, 1])
    """
    return [max(1, round(count * others / layers)) for count in counts]


def randomise_cascade(graph: GraphModule, layers: Sequence[str], counts: Sequence[int], seed: int) -> Iterator[Stage]:
    """Yield a copy of `graph` for each of `counts`, with the first so many of `layers` randomised.

    Each weight is drawn from a normal distribution with the mean and standard deviation of its tensor, so that activations keep
    their size; a layer's numbers depend on `seed` and its place alone.
    """
    for count in counts:
        own = copy_graph(graph)
        changed: set[int] = set()
        for place, name in enumerate(layers[:count]):
            node = next(node for node in own.graph.nodes if node.name == name)
            _randomise_layer(own, node, torch.Generator().manual_seed(hash_place(seed, place)), changed)
        yield Stage(count, own)


def hash_place(seed: int, place: int) -> int:
    """A seed for each pair of a seed and a layer's place."""
    return (seed * 1_000_003 + place) % 2**63


def _randomise_layer(graph: GraphModule, node: Node, random: torch.Generator, changed: set[int]) -> None:
    for owner, name in list(_iter_weights(graph, node)):
        value = getattr(owner, name)
        if id(value) in changed:  # a tensor that a later layer reads too, which is randomised already
            continue
        fresh = _draw_like(value, random)
        if name in owner._parameters:
            owner.register_parameter(name, nn.Parameter(fresh, requires_grad=False))
        else:
            owner.register_buffer(name, fresh)
        changed.add(id(getattr(owner, name)))


def _draw_like(value: Tensor, random: torch.Generator) -> Tensor:
    drawn = torch.randn(value.shape, generator=random, dtype=torch.float32)
    scaled = drawn * value.float().std() + value.float().mean()
    if not value.is_floating_point():
        limits = torch.iinfo(value.dtype)
        scaled = scaled.round().clamp(limits.min, limits.max)
    return scaled.to(value)


def _iter_weights(graph: GraphModule, node: Node) -> Iterator[tuple[nn.Module, str]]:
    """The weights of a node, each by the module that holds it and its name there: arguments, and what the node's module holds itself."""
    if operator_of(node) not in PARAMETRIC:
        return
    for given in node.all_input_nodes:
        if given.op == "get_attr" and _is_weight(constant_value(graph, given)):
            owner, _, name = str(given.target).rpartition(".")
            yield graph.get_submodule(owner), name
    module = graph.get_submodule(str(node.target))
    for part in module.modules():
        for name, value in [*part.named_buffers(recurse=False), *part.named_parameters(recurse=False)]:
            if _is_weight(value):
                yield part, name


def _is_weight(value: Tensor | None) -> bool:
    """Whether a constant is a tensor of different numbers: of floating point, or a quantised matrix or kernel."""
    if value is None or value.numel() < 2:
        return False
    quantised = value.dtype in (torch.int8, torch.uint8) and value.dim() > 1
    return (value.is_floating_point() or quantised) and bool(value.float().std() > 0)
