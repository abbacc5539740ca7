"""Per-channel scales and shifts after a linear operator, merged into its weights and bias.

It saves a pass over memory for each, and makes maps independent of the exporter: rules that look at signs (γ, z⁺, αβ) share
relevance out among the weights and the bias of a layer, and batch normalisation, a bias written as Add and a scale written
as Mul belong to it. A batch normalisation that follows no linear operator is left as it is: its gradient is its ε-rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.view import operator, stored

_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_HOLDERS = frozenset({"weights", "merged"})
_STEPS = frozenset({"BatchNormalization", "Add", "Sub", "Mul", "Div"})


class Biased(nn.Module):
    """A product of two matrices plus a bias, in one pass where the second is a stored matrix."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None and b.dim() == 2 and bias.dim() == 1:
            return F.linear(a, b.t(), bias)
        made: Tensor = self.function(a, b)
        return made if bias is None else made + bias


@dataclass(frozen=True)
class Layer:
    """A linear node with stored weights.

    `axis` is where its weights have the output channels, `trailing` the number of axes behind these in its output, and
    `position` that of the weights among its arguments.
    """

    node: Node
    module: nn.Module
    weight: Tensor
    bias: Tensor | None
    axis: int
    trailing: int = 0
    position: int = 1


def merge(graph: GraphModule) -> None:
    """Merge all such steps of `graph`, in place; weights that change are new tensors, the others stay shared."""
    for node in list(graph.graph.nodes):
        layer = _layer(graph, node) if operator(node) in _LINEAR else None
        scale: Tensor | None = None
        shift: Tensor | None = None
        steps: list[Node] = []
        while layer is not None and (step := _step(graph, steps[-1] if steps else node, layer)) is not None:
            by, plus = step[1:]
            scale = by if scale is None else scale * by
            shift = plus if shift is None else shift * by + plus
            steps.append(step[0])
        if layer is not None and scale is not None and shift is not None:
            _rewrite(graph, layer, scale, shift, steps)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    _forget_unused(graph)
    graph.recompile()


def _forget_unused(graph: GraphModule) -> None:
    """Let go of stored values that no node reads any more."""
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in list(graph.named_buffers()):
        owner, _, last = name.rpartition(".")
        if owner in _HOLDERS and name not in used:
            delattr(graph.get_submodule(owner), last)


def _layer(graph: GraphModule, node: Node) -> Layer | None:
    if node.kwargs or len(node.args) < 2 or not all(isinstance(given, Node) for given in node.args[:3]):
        return None
    first, weight, *rest = (stored(graph, given) for given in node.args[:3] if isinstance(given, Node))
    name, module = operator(node), graph.get_submodule(str(node.target))
    if name == "MatMul" and first is not None and first.dim() == 2 and weight is None:
        return Layer(node, module, first, None, 0, 1, 0)
    if weight is None or (rest and rest[0] is None) or weight.dim() < 2:
        return None
    axis = _channel_axis(name, module, weight)
    trailing = weight.dim() - 2 if name in ("Conv", "ConvTranspose") else 0
    return None if axis is None else Layer(node, module, weight, rest[0] if rest else None, axis, trailing)


def _channel_axis(name: str, module: nn.Module, weight: Tensor) -> int | None:
    if name == "Conv":
        return 0
    if name == "ConvTranspose":
        return 1 if getattr(module, "groups", None) == 1 else None
    if name == "Gemm":
        plain = getattr(module, "alpha", None) == 1 and getattr(module, "beta", None) == 1 and not getattr(module, "left", True)
        return (0 if getattr(module, "right", False) else 1) if plain else None
    return weight.dim() - 1


def _step(graph: GraphModule, before: Node, layer: Layer) -> tuple[Node, Tensor, Tensor] | None:
    """The next step after `before`, with its scale and shift per channel; None where there is none."""
    if len(before.users) != 1:
        return None
    (node,) = before.users
    name = operator(node)
    if name not in _STEPS or node.kwargs:
        return None
    values = [stored(graph, given) if isinstance(given, Node) else None for given in node.args]
    if name == "BatchNormalization":
        return _normalisation(node, graph.get_submodule(str(node.target)), before, values)
    if len(values) != 2 or sum(value is None for value in values) != 1 or before not in node.args:
        return None
    first = node.args[0] is before
    constant = _per_channel(values[1] if first else values[0], layer.trailing, layer.weight.shape[layer.axis])
    return None if constant is None else _arithmetic(node, name, constant, first)


def _normalisation(
    node: Node, module: nn.Module, before: Node, values: list[Tensor | None]
) -> tuple[Node, Tensor, Tensor] | None:
    scale, bias, mean, variance = [*values[1:], None, None, None, None][:4]
    if scale is None or bias is None or mean is None or variance is None or node.args[0] is not before:
        return None
    if not getattr(module, "spatial", False):
        return None
    by = scale * torch.rsqrt(variance + float(module.eps))  # type: ignore[arg-type]
    return node, by, bias - mean * by


def _per_channel(value: Tensor | None, trailing: int, channels: int) -> Tensor | None:
    """A constant that broadcasts along channels alone, as a vector."""
    if value is None or not value.is_floating_point():
        return None
    if value.numel() == 1 and value.dim() <= trailing + 1:
        return value.reshape(1).expand(channels)
    shape = value.shape[value.dim() - trailing - 1 :] if value.dim() > trailing else ()
    fits = value.numel() == channels and tuple(shape) == (channels, *[1] * trailing)
    return value.reshape(channels) if fits else None


def _arithmetic(node: Node, name: str, value: Tensor, first: bool) -> tuple[Node, Tensor, Tensor] | None:
    one, zero = torch.ones_like(value), torch.zeros_like(value)
    if name == "Add":
        return node, one, value
    if name == "Sub":
        return (node, one, -value) if first else (node, -one, value)
    if name == "Mul":
        return node, value, zero
    return (node, 1 / value, zero) if first else None


def _rewrite(graph: GraphModule, layer: Layer, scale: Tensor, shift: Tensor, steps: list[Node]) -> None:
    """One node with new weights in place of a layer and its steps."""
    shape = [1] * layer.weight.dim()
    shape[layer.axis] = -1
    bias = shift if layer.bias is None else layer.bias * scale + shift
    bias = bias if layer.position else bias.reshape(-1, 1)
    if operator(layer.node) == "MatMul":
        graph.add_submodule(str(layer.node.target), Biased(layer.module))
    with graph.graph.inserting_before(layer.node):
        inputs = [layer.node.args[layer.position], _attribute(graph, f"{layer.node.target}_bias", bias)]
        if bool((scale != 1).any()):
            inputs[0] = _attribute(graph, f"{layer.node.target}_weight", layer.weight * scale.reshape(shape))
    data = layer.node.args[1 - layer.position]
    layer.node.args = (data, *inputs) if layer.position else (inputs[0], data, inputs[1])
    steps[-1].replace_all_uses_with(layer.node)
    for step in reversed(steps):
        graph.graph.erase_node(step)


def _attribute(graph: GraphModule, name: str, value: Tensor) -> Node:
    if not hasattr(graph, "merged"):
        graph.add_module("merged", nn.Module())
    graph.get_submodule("merged").register_buffer(name, value.contiguous())
    return graph.graph.get_attr(f"merged.{name}")
