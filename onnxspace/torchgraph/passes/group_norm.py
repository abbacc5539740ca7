"""Fusion of group normalisation as exported below opset 21: InstanceNormalization of groups between two Reshapes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.operators.normalisation import GroupNorm, InstanceNorm
from onnxspace.torchgraph.operators.shaping import Reshape
from onnxspace.torchgraph.view import constant_value, module_of, operator_of, replace_region, submodule_name


def fuse_group_normalisation(graph: GraphModule) -> None:
    """Replace each occurrence in `graph` by GroupNormalization (x, scale, bias), in place; scale and bias keep their shapes."""
    for node in list(graph.graph.nodes):
        if operator_of(node) == "InstanceNormalization":
            _fuse(graph, node)


def _fuse(graph: GraphModule, node: Node) -> None:
    before, after = node.args[0], _only_user(node)
    groups = _count_groups(graph, before)
    module = module_of(graph, node)
    if groups is None or after is None or not isinstance(module, InstanceNorm) or not _is_neutral(graph, node):
        return
    assert isinstance(before, Node)
    x = _restore_input(graph, before, after, groups)
    if x is None:
        return
    region, affine = [before, node, after], list(_iter_affine(graph, after, groups))
    region += [user for user, _ in affine]
    arguments = [value for _, value in affine]
    replace_region(
        graph, region, submodule_name("GroupNormalization", region[-1]), GroupNorm(groups, module.eps, False), x, *arguments
    )


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _reshape_target(graph: GraphModule, node: object) -> list[int] | None:
    """The constant target shape of a Reshape, where 0 copies the input's size; None for any other node."""
    if not isinstance(node, Node) or operator_of(node) != "Reshape":
        return None
    module = module_of(graph, node)
    if not isinstance(module, Reshape) or module.allowzero:
        return None
    value = constant_value(graph, node.args[1]) if len(node.args) > 1 else None
    return module.shape if len(node.args) == 1 else None if value is None else [int(n) for n in value]


def _count_groups(graph: GraphModule, node: object) -> int | None:
    """The number of groups of a Reshape to (batch, groups, rest) that has one user; None for any other node."""
    match _reshape_target(graph, node):
        case [0, groups, -1] if groups > 0 and isinstance(node, Node) and len(node.users) == 1:
            return groups
    return None


def _is_neutral(graph: GraphModule, node: Node) -> bool:
    """Whether an InstanceNormalization has scales of one and biases of zero."""
    scale, bias = (constant_value(graph, given) for given in node.args[1:3])
    return scale is not None and bias is not None and bool((scale == 1).all() and (bias == 0).all())


def _restore_input(graph: GraphModule, before: Node, after: Node, groups: int) -> Node | None:
    """The input of `before`, if `after` restores its shape: by its Shape node, or by a constant shape with the same batch.

    A constant shape need not equal the input's for the groups to be the same, so the input is reshaped to it first.
    """
    x = before.args[0]
    if operator_of(after) != "Reshape" or len(after.args) < 2 or not isinstance(x, Node):
        return None
    shape = after.args[1]
    if isinstance(shape, Node) and operator_of(shape) == "Shape" and shape.args[0] is x and _is_whole(graph, shape):
        return x
    target = _reshape_target(graph, after)
    if not target or target[0] != 0 or len(target) < 2 or target[1] < 1 or target[1] % groups:
        return None
    with graph.graph.inserting_before(after):
        return graph.graph.call_module(str(after.target), (x, shape))


def _is_whole(graph: GraphModule, shape: Node) -> bool:
    """Whether a Shape node returns all axes."""
    return bool(torch.equal(module_of(graph, shape)(torch.zeros(2, 3, 4)), torch.tensor([2, 3, 4])))


def _iter_affine(graph: GraphModule, node: Node, groups: int) -> Iterator[tuple[Node, Node]]:
    """The product and the sum with per-channel constants that follow a node, each with its constant."""
    for wanted in ("Mul", "Add"):
        user = _only_user(node)
        given = [x for x in user.args if x is not node] if user is not None and operator_of(user) == wanted else []
        value = constant_value(graph, given[0]) if len(given) == 1 else None
        if user is None or value is None or not isinstance(given[0], Node) or not _is_by_channel(value, groups):
            return
        yield user, given[0]
        node = user


def _is_by_channel(value: Tensor, groups: int) -> bool:
    """Whether a constant has the shape (channels, 1, …), apart from leading axes of size one."""
    shape = list(value.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    return len(shape) > 1 and shape[0] % groups == 0 and all(size == 1 for size in shape[1:])
