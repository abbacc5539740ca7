"""Activations that an exporter wrote as several operators, put back together.

SiLU comes as `x · Sigmoid(x)`, GELU as a formula with Erf or Tanh, HardSwish and Mish as products. A rule applied to the
pieces would count relevance once for every path from x to the product, so that the map depended on the exporter. Instead
of a list of patterns, one property is looked for: a product or quotient that is an element-wise function of one tensor,
with a nonlinearity on the way and nothing in between used elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import Graph, GraphModule, Node

#: Name of a fused activation's module; rules see it as an operator like any other.
FUSED = "Activation"
_NONLINEAR = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Erf", "Softplus", "Clip", "Relu", "Exp", "Abs"})
_ELEMENTWISE = _NONLINEAR | {"Add", "Sub", "Mul", "Div", "Neg", "Pow", "Min", "Max", "Reciprocal", "Identity", "Log"}
_JOINS = frozenset({"Mul", "Div"})


def fuse(graph: GraphModule) -> GraphModule:
    """Replace every such function of `graph`, in place, by one submodule named `Activation_<k>`."""
    found = 0
    for start in list(graph.graph.nodes):
        while (region := next(_regions(graph, start), None)) is not None:
            _replace(graph, start, region, f"{FUSED}_{found}")
            found += 1
    if found:
        graph.delete_all_unused_submodules()
        graph.recompile()
    return graph


def operator(node: Node) -> str:
    """The ONNX operator behind a node of a converted graph, empty for anything else."""
    return str(node.target).rsplit("_", 1)[0] if node.op == "call_module" else ""


def _regions(graph: GraphModule, start: Node) -> Iterator[list[Node]]:
    """Fusible regions that branch from `start`, the earliest first: nodes in order, the product or quotient last."""
    if len(start.users) < 2:
        return
    functions = _functions_of(graph, start)
    for end in functions:
        if operator(end) in _JOINS:
            region = _between(start, end, functions)
            if sum(start in node.all_input_nodes for node in region) > 1 and _is_activation(region, end):
                yield region


def _functions_of(graph: GraphModule, start: Node) -> dict[Node, None]:
    """Every node that is an element-wise function of `start` and of scalar constants alone, in graph order."""
    found: dict[Node, None] = {}
    node = start.next
    pending = set(start.users)
    while pending and node.op != "root":
        if node in pending and operator(node) in _ELEMENTWISE and _depends_only(graph, node, found, start):
            found[node] = None
            pending.update(node.users)
        pending.discard(node)
        node = node.next
    return found


def _depends_only(graph: GraphModule, node: Node, known: dict[Node, None], start: Node) -> bool:
    return all(given is start or given in known or _is_scalar(graph, given) for given in node.all_input_nodes)


def _is_scalar(graph: GraphModule, node: Node) -> bool:
    """Whether a node is a constant of one element."""
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return bool(getattr(graph.get_submodule(owner), name).numel() == 1)
    if operator(node) == "Constant":
        value = graph.get_submodule(str(node.target))()
        return isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    return False


def _between(start: Node, end: Node, functions: dict[Node, None]) -> list[Node]:
    """The nodes on the way from `start` (left out) to `end` (kept), in graph order."""
    inside, open_ = {end}, [end]
    while open_:
        new = [given for given in open_.pop().all_input_nodes if given in functions and given not in inside]
        inside.update(new)
        open_.extend(new)
    return [node for node in functions if node in inside]


def _is_activation(region: list[Node], end: Node) -> bool:
    """Whether a region holds a nonlinearity, and only its last node is used outside."""
    inside = set(region)
    closed = all(user in inside for node in region if node is not end for user in node.users)
    return closed and any(operator(node) in _NONLINEAR for node in region)


def _replace(graph: GraphModule, start: Node, region: list[Node], name: str) -> None:
    """Move a region into a submodule of one argument."""
    inner, end = Graph(), region[-1]
    copies = {start: inner.placeholder("z")}
    for node in region:
        for given in node.all_input_nodes:
            if given not in copies:
                copies[given] = inner.node_copy(given)
        copies[node] = inner.node_copy(node, copies.__getitem__)
    inner.output(copies[end])
    graph.add_submodule(name, GraphModule(graph, inner))
    with graph.graph.inserting_before(end):
        call = graph.graph.call_module(name, (start,))
    end.replace_all_uses_with(call)
    for node in reversed(region):
        graph.graph.erase_node(node)
