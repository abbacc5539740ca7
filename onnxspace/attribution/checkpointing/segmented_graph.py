"""A graph in segments, of which some are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.checkpoint import checkpoint

from onnxspace.attribution.checkpointing.profile import Unit
from onnxspace.attribution.checkpointing.segments import Segment


@dataclass(frozen=True)
class _Part:
    """A segment as a graph of its own, which takes the values of the nodes `given` and returns those of the nodes `made`."""

    graph: fx.GraphModule
    given: tuple[fx.Node, ...]
    made: tuple[fx.Node, ...]
    recomputed: bool


class SegmentedGraph:
    """`graph` in `segments` of its `units`: the same values and gradients, to the byte, with the memory of the plan.

    Called with the graph's input, it returns what the graph returns. Where nothing is differentiated, the graph runs as a whole.
    """

    def __init__(self, graph: fx.GraphModule, units: Sequence[Unit], segments: Sequence[Segment]) -> None:
        self.graph = graph
        self.parts = [_extract(graph, units, segment) for segment in segments]

    def __call__(self, values: Tensor) -> Any:
        if not (torch.is_grad_enabled() and values.requires_grad):
            return self.graph(values)
        image = next(node for node in self.graph.graph.nodes if node.op == "placeholder")
        found: dict[fx.Node, Tensor] = {image: values}
        for part in self.parts:
            found.update(zip(part.made, _run(part, [found[node] for node in part.given]), strict=True))
        returned = next(node for node in self.graph.graph.nodes if node.op == "output").args[0]
        return fx.map_arg(returned, lambda node: found[node])


def _run(part: _Part, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
    if not part.recomputed:
        return part.graph(*given)  # type: ignore[no-any-return]
    # the form that keeps autograd's own graph: the other one adds up gradients of a value in another order
    found: tuple[Tensor, ...] = checkpoint(part.graph, *given, use_reentrant=False, preserve_rng_state=False)
    return found


def _extract(graph: fx.GraphModule, units: Sequence[Unit], segment: Segment) -> _Part:
    """The nodes of a segment as a graph that shares the modules and weights of `graph`."""
    nodes = [node for unit in units[segment.first : segment.end] for node in unit.nodes]
    inside, own, copies = set(nodes), fx.Graph(), dict[fx.Node, fx.Node]()
    outer = dict.fromkeys(given for node in nodes for given in node.all_input_nodes if given not in inside)
    given = tuple(node for node in outer if node.op != "get_attr")
    for node in given:
        copies[node] = own.placeholder(node.name)
    for node in (*(node for node in outer if node.op == "get_attr"), *nodes):
        copies[node] = own.node_copy(node, copies.__getitem__)
    made = tuple(node for node in nodes if any(user not in inside for user in node.users))
    own.output(tuple(copies[node] for node in made))
    return _Part(fx.GraphModule(graph, own).eval(), given, made, segment.recomputed)
