"""Fusion of activations that an exporter wrote as several operators.

SiLU appears as `x · Sigmoid(x)`, GELU as a formula with Erf or Tanh, HardSwish and Mish as products. A rule applied to the
parts would count relevance once for every path from x to the product, so that the map would depend on the exporter. Rather
than a list of patterns, one property is matched: a product or quotient that is an element-wise function of one tensor,
with a nonlinearity on the way and no intermediate value used elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.fx import Graph, GraphModule, Node

from onnxspace.torchgraph.passes.known_activations import recognise
from onnxspace.torchgraph.view import (
    functions_of,
    is_closed,
    is_scalar,
    operator_of,
    region_ending_at,
    replace_region,
    submodule_name,
)

#: Operator name of a fused activation that is not a known one.
FUSED = "Activation"
_NONLINEAR = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Erf", "Softplus", "Clip", "Relu", "Exp", "Abs"})
_ELEMENTWISE = _NONLINEAR | {"Add", "Sub", "Mul", "Div", "Neg", "Pow", "Min", "Max", "Reciprocal", "Identity", "Log"}
_JOINS = frozenset({"Mul", "Div"})


def fuse_activations(graph: GraphModule) -> None:
    """Replace every such function in `graph` by one submodule, in place, named `Activation_<k>` or after its ONNX operator."""
    for start in list(graph.graph.nodes):
        while (found := _find_activation(graph, start)) is not None:
            region, name, module = found
            replace_region(graph, region, submodule_name(name, region[-1]), module, start)


def _find_activation(graph: GraphModule, start: Node) -> tuple[list[Node], str, nn.Module] | None:
    """The first region from `start` that is a known activation, or else the first one, with its name and module."""
    candidates = [(region, _as_module(graph, start, region)) for region in _iter_regions(graph, start)]
    known = ((region, *found) for region, module in candidates if (found := recognise(module)) is not None)
    return next(known, None) or next(((region, FUSED, module) for region, module in candidates), None)


def _iter_regions(graph: GraphModule, start: Node) -> Iterator[list[Node]]:
    """Iterate over the fusible regions that branch from `start`, in graph order; each ends with its product or quotient."""
    if len(start.users) < 2:
        return
    functions = _elementwise_functions(graph, start)
    for end in functions:
        if operator_of(end) in _JOINS:
            region = region_ending_at(end, functions)
            if sum(start in node.all_input_nodes for node in region) > 1 and _is_activation(region, end):
                yield region


def _elementwise_functions(graph: GraphModule, start: Node) -> list[Node]:
    """All nodes that are element-wise functions of `start` and scalar constants alone."""
    known = {start}

    def accepts(node: Node) -> bool:
        fits = operator_of(node) in _ELEMENTWISE and all(x in known or is_scalar(graph, x) for x in node.all_input_nodes)
        if fits:
            known.add(node)
        return fits

    return functions_of(start, accepts)


def _is_activation(region: list[Node], end: Node) -> bool:
    """Whether a region contains a nonlinearity, and only its last node is used outside."""
    return is_closed(region, end) and any(operator_of(node) in _NONLINEAR for node in region)


def _as_module(graph: GraphModule, start: Node, region: list[Node]) -> GraphModule:
    """A region as a module with one argument."""
    inner = Graph()
    copies = {start: inner.placeholder("z")}
    for node in region:
        for given in node.all_input_nodes:
            if given not in copies:
                copies[given] = inner.node_copy(given)
        copies[node] = inner.node_copy(node, copies.__getitem__)
    inner.output(copies[region[-1]])
    return GraphModule(graph, inner)
