"""What every pass needs of a converted graph: operators, stored values, closed regions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node


def operator(node: Node) -> str:
    """The ONNX operator behind a node of a converted graph, empty for anything else."""
    return operator_of(str(node.target)) if node.op == "call_module" else ""


def operator_of(name: str) -> str:
    """The ONNX operator behind a submodule's name (`Relu_12` → `Relu`)."""
    return name.rsplit("_", 1)[0]


def alike(name: str, node: Node, letter: str = "") -> str:
    """A submodule's name for the operator `name` in the place of `node`, whose number no other has."""
    return f"{name}_{str(node.target).rsplit('_', 1)[1]}{letter}"


def module_of(graph: GraphModule, node: Node) -> nn.Module:
    return graph.get_submodule(str(node.target))


def stored(graph: GraphModule, node: object) -> Tensor | None:
    """The value of a node that is a constant; None for anything else."""
    if not isinstance(node, Node):
        return None
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(graph.get_submodule(owner), name)
    else:
        value = module_of(graph, node)() if operator(node) == "Constant" else None
    value = torch.tensor(value) if isinstance(value, (int, float)) else value
    return value if isinstance(value, Tensor) else None


def is_scalar(graph: GraphModule, node: Node) -> bool:
    """Whether a node is a constant of one element."""
    value = stored(graph, node)
    return value is not None and value.numel() == 1


def functions_of(start: Node, derived: Callable[[Node], bool]) -> list[Node]:
    """The nodes behind `start`, in graph order, that `derived` accepts: asked in order, of users of accepted nodes only."""
    found: list[Node] = []
    node, pending = start.next, set(start.users)
    while pending and node.op != "root":
        if node in pending and derived(node):
            found.append(node)
            pending.update(node.users)
        pending.discard(node)
        node = node.next
    return found


def between(end: Node, functions: Collection[Node]) -> list[Node]:
    """Those of `functions`, in their order, that lead to `end`, which comes last."""
    inside, open_ = {end}, [end]
    known = set(functions)
    while open_:
        new = [given for given in open_.pop().all_input_nodes if given in known and given not in inside]
        inside.update(new)
        open_.extend(new)
    return [node for node in functions if node in inside]


def is_closed(region: Iterable[Node], end: Node) -> bool:
    """Whether only the last node of a region is used outside."""
    inside = set(region)
    return all(user in inside for node in inside if node is not end for user in node.users)


def replace_region(graph: GraphModule, region: list[Node], name: str, module: nn.Module, *args: Any) -> Node:
    """Replace a closed region by one call of a new submodule."""
    graph.add_submodule(name, module)
    end = region[-1]
    with graph.graph.inserting_before(end):
        call = graph.graph.call_module(name, args)
    end.replace_all_uses_with(call)
    for node in reversed(region):
        graph.graph.erase_node(node)
    return call
