"""Group normalisation as exporters below opset 21 write it: InstanceNormalization of groups between two Reshapes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.operators.normalisation import GroupNorm, InstanceNorm
from onnxspace.torchgraph.operators.shaping import Reshape
from onnxspace.torchgraph.view import alike, module_of, operator, replace_region, stored


def fuse_group_normalisation(graph: GraphModule) -> None:
    """Replace each by GroupNormalization (x, scale, bias), with scale and bias in the shape of the pieces."""
    for node in list(graph.graph.nodes):
        if operator(node) == "InstanceNormalization":
            _fuse(graph, node)


def _fuse(graph: GraphModule, node: Node) -> None:
    before, after = node.args[0], _only_user(node)
    groups = _groups(graph, before)
    module = module_of(graph, node)
    if groups is None or after is None or not isinstance(module, InstanceNorm) or not _is_neutral(graph, node):
        return
    assert isinstance(before, Node)
    x = _restored(graph, before, after, groups)
    if x is None:
        return
    region, affine = [before, node, after], list(_affine(graph, after, groups))
    region += [user for user, _ in affine]
    arguments = [value for _, value in affine]
    replace_region(graph, region, alike("GroupNormalization", region[-1]), GroupNorm(groups, module.eps, False), x, *arguments)


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _target(graph: GraphModule, node: object) -> list[int] | None:
    """The stored target of a Reshape; 0 stands for the size at its place."""
    if not isinstance(node, Node) or operator(node) != "Reshape":
        return None
    module = module_of(graph, node)
    if not isinstance(module, Reshape) or module.allowzero:
        return None
    value = stored(graph, node.args[1]) if len(node.args) > 1 else None
    return module.shape if len(node.args) == 1 else None if value is None else [int(n) for n in value]


def _groups(graph: GraphModule, node: object) -> int | None:
    """The number of groups that a Reshape (batch, groups, rest) makes for this alone."""
    match _target(graph, node):
        case [0, groups, -1] if groups > 0 and isinstance(node, Node) and len(node.users) == 1:
            return groups
    return None


def _is_neutral(graph: GraphModule, node: Node) -> bool:
    """Whether an InstanceNormalization has scales of one and biases of zero."""
    scale, bias = (stored(graph, given) for given in node.args[1:3])
    return scale is not None and bias is not None and bool((scale == 1).all() and (bias == 0).all())


def _restored(graph: GraphModule, before: Node, after: Node, groups: int) -> Node | None:
    """What `before` reshapes, if `after` gives its shape back: the shape of that tensor, or a stored one of the same batch.

    A stored one need not be that shape for groups to stay the same, so the tensor is reshaped to it beforehand.
    """
    x = before.args[0]
    if operator(after) != "Reshape" or len(after.args) < 2 or not isinstance(x, Node):
        return None
    shape = after.args[1]
    if isinstance(shape, Node) and operator(shape) == "Shape" and shape.args[0] is x and _is_whole(graph, shape):
        return x
    target = _target(graph, after)
    if not target or target[0] != 0 or len(target) < 2 or target[1] < 1 or target[1] % groups:
        return None
    with graph.graph.inserting_before(after):
        return graph.graph.call_module(str(after.target), (x, shape))


def _is_whole(graph: GraphModule, shape: Node) -> bool:
    """Whether a Shape node gives all sizes."""
    return bool(torch.equal(module_of(graph, shape)(torch.zeros(2, 3, 4)), torch.tensor([2, 3, 4])))


def _affine(graph: GraphModule, node: Node, groups: int) -> Iterator[tuple[Node, Node]]:
    """The product and the sum with stored values by channel that follow a node, each with its value."""
    for wanted in ("Mul", "Add"):
        user = _only_user(node)
        given = [x for x in user.args if x is not node] if user is not None and operator(user) == wanted else []
        value = stored(graph, given[0]) if len(given) == 1 else None
        if user is None or value is None or not isinstance(given[0], Node) or not _is_by_channel(value, groups):
            return
        yield user, given[0]
        node = user


def _is_by_channel(value: Tensor, groups: int) -> bool:
    """Whether a constant is (channels, 1, …), after axes of one."""
    shape = list(value.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    return len(shape) > 1 and shape[0] % groups == 0 and all(size == 1 for size in shape[1:])
