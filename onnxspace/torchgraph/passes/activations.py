"""Activations that an exporter wrote as several operators, put back together.

SiLU comes as `x · Sigmoid(x)`, GELU as a formula with Erf or Tanh, HardSwish and Mish as products. A rule applied to the
pieces would count relevance once for every path from x to the product, so that the map depended on the exporter. Instead
of a list of patterns, one property is looked for: a product or quotient that is an element-wise function of one tensor,
with a nonlinearity on the way and nothing in between used elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.fx import Graph, GraphModule, Node

from onnxspace.torchgraph.passes.known_activations import recognised
from onnxspace.torchgraph.view import alike, between, functions_of, is_closed, is_scalar, operator, replace_region

#: Name of a fused activation's module; rules see it as an operator like any other.
FUSED = "Activation"
_NONLINEAR = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Erf", "Softplus", "Clip", "Relu", "Exp", "Abs"})
_ELEMENTWISE = _NONLINEAR | {"Add", "Sub", "Mul", "Div", "Neg", "Pow", "Min", "Max", "Reciprocal", "Identity", "Log"}
_JOINS = frozenset({"Mul", "Div"})


def fuse_activations(graph: GraphModule) -> None:
    """Replace every such function of `graph` by one submodule, named `Activation_<k>` or after the operator that it is."""
    for start in list(graph.graph.nodes):
        while (found := _chosen(graph, start)) is not None:
            region, name, module = found
            replace_region(graph, region, alike(name, region[-1]), module, start)


def _chosen(graph: GraphModule, start: Node) -> tuple[list[Node], str, nn.Module] | None:
    """The first region at `start` that is a known activation, or else the first one, with its name and module."""
    made = [(region, _as_module(graph, start, region)) for region in _regions(graph, start)]
    known = ((region, *found) for region, module in made if (found := recognised(module)) is not None)
    return next(known, None) or next(((region, FUSED, module) for region, module in made), None)


def _regions(graph: GraphModule, start: Node) -> Iterator[list[Node]]:
    """Fusible regions that branch from `start`, the earliest first: nodes in order, the product or quotient last."""
    if len(start.users) < 2:
        return
    functions = _functions(graph, start)
    for end in functions:
        if operator(end) in _JOINS:
            region = between(end, functions)
            if sum(start in node.all_input_nodes for node in region) > 1 and _is_activation(region, end):
                yield region


def _functions(graph: GraphModule, start: Node) -> list[Node]:
    """Every node that is an element-wise function of `start` and of scalar constants alone."""
    known = {start}

    def derived(node: Node) -> bool:
        fits = operator(node) in _ELEMENTWISE and all(x in known or is_scalar(graph, x) for x in node.all_input_nodes)
        if fits:
            known.add(node)
        return fits

    return functions_of(start, derived)


def _is_activation(region: list[Node], end: Node) -> bool:
    """Whether a region holds a nonlinearity, and only its last node is used outside."""
    return is_closed(region, end) and any(operator(node) in _NONLINEAR for node in region)


def _as_module(graph: GraphModule, start: Node, region: list[Node]) -> GraphModule:
    """A region as a module of one argument."""
    inner = Graph()
    copies = {start: inner.placeholder("z")}
    for node in region:
        for given in node.all_input_nodes:
            if given not in copies:
                copies[given] = inner.node_copy(given)
        copies[node] = inner.node_copy(node, copies.__getitem__)
    inner.output(copies[region[-1]])
    return GraphModule(graph, inner)
