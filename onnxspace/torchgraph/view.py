"""Helpers for passes over a converted graph: operators, constants and closed regions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node


def operator_of(node: Node) -> str:
    """The ONNX operator that a node of a converted graph stands for, "" for any other node."""
    return operator_from_name(str(node.target)) if node.op == "call_module" else ""


def operator_from_name(name: str) -> str:
    """The ONNX operator in a submodule's name.

    >>> operator_from_name("Relu_12")
    'Relu'
    """
    return name.rsplit("_", 1)[0]


def submodule_name(name: str, node: Node, letter: str = "") -> str:
    """A unique submodule name for the operator `name` that replaces `node`: its number, and `letter` if there are several."""
    return f"{name}_{str(node.target).rsplit('_', 1)[1]}{letter}"


def module_of(graph: GraphModule, node: Node) -> nn.Module:
    """The submodule that a node calls."""
    return graph.get_submodule(str(node.target))


def constant_value(graph: GraphModule, node: object) -> Tensor | None:
    """The value of a node that is a constant, None for anything else."""
    if not isinstance(node, Node):
        return None
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(graph.get_submodule(owner), name)
    else:
        value = module_of(graph, node)() if operator_of(node) == "Constant" else None
    value = torch.tensor(value) if isinstance(value, (int, float)) else value
    return value if isinstance(value, Tensor) else None


def is_scalar(graph: GraphModule, node: Node) -> bool:
    """Whether a node is a constant with one element."""
    value = constant_value(graph, node)
    return value is not None and value.numel() == 1


def functions_of(start: Node, accepts: Callable[[Node], bool]) -> list[Node]:
    """Nodes after `start` that `accepts` accepts, in graph order; it is called for users of `start` and of accepted nodes."""
    found: list[Node] = []
    node, pending = start.next, set(start.users)
    while pending and node.op != "root":
        if node in pending and accepts(node):
            found.append(node)
            pending.update(node.users)
        pending.discard(node)
        node = node.next
    return found


def region_ending_at(end: Node, functions: Collection[Node]) -> list[Node]:
    """Those of `functions`, in their order, on which `end` depends, and `end` itself, which comes last."""
    inside, open_ = {end}, [end]
    known = set(functions)
    while open_:
        new = [source for source in open_.pop().all_input_nodes if source in known and source not in inside]
        inside.update(new)
        open_.extend(new)
    return [node for node in functions if node in inside]


def is_closed(region: Iterable[Node], end: Node) -> bool:
    """Whether only `end`, the last node of a region, is used outside the region."""
    inside = set(region)
    return all(user in inside for node in inside if node is not end for user in node.users)


def replace_region(graph: GraphModule, region: list[Node], name: str, module: nn.Module, *args: Any) -> Node:
    """Replace a closed region by a call of the new submodule `module`, named `name`, with `args`; returns the call."""
    graph.add_submodule(name, module)
    end = region[-1]
    with graph.graph.inserting_before(end):
        call = graph.graph.call_module(name, args)
    end.replace_all_uses_with(call)
    for node in reversed(region):
        graph.graph.erase_node(node)
    return call
