"""Folding of per-channel scales and shifts after a linear operator into its weights and bias.

It saves a pass over memory for each, and makes maps independent of the exporter: rules that depend on signs (γ, z⁺, αβ)
distribute relevance over the weights and the bias of a layer, to which batch normalisation, a bias written as Add and a
scale written as Mul belong. A batch normalisation that follows no linear operator stays: its gradient is its ε-rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.view import constant_value, operator_of

_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_HOLDERS = frozenset({"weights", "merged"})
_STEPS = frozenset({"BatchNormalization", "Add", "Sub", "Mul", "Div"})


class BiasedProduct(nn.Module):
    """A matrix product plus a bias, computed in one pass where the second factor is a matrix and the bias a vector."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None and b.dim() == 2 and bias.dim() == 1:
            return F.linear(a, b.t(), bias)
        result: Tensor = self.function(a, b)
        return result if bias is None else result + bias


@dataclass(frozen=True)
class Layer:
    """A linear node with constant weights.

    `axis` is the axis of its weights that holds the output channels, `trailing` the number of axes after the channels in its
    output, and `position` the index of the weights among its arguments.
    """

    node: Node
    module: nn.Module
    weight: Tensor
    bias: Tensor | None
    axis: int
    trailing: int = 0
    position: int = 1


def fold_scales(graph: GraphModule) -> None:
    """Fold all such steps of `graph`, in place; changed weights are new tensors, the others stay shared with the model."""
    for node in list(graph.graph.nodes):
        layer = _read_layer(graph, node) if operator_of(node) in _LINEAR else None
        scale: Tensor | None = None
        shift: Tensor | None = None
        steps: list[Node] = []
        while layer is not None and (step := _find_next_step(graph, steps[-1] if steps else node, layer)) is not None:
            by, plus = step[1:]
            scale = by if scale is None else scale * by
            shift = plus if shift is None else shift * by + plus
            steps.append(step[0])
        if layer is not None and scale is not None and shift is not None:
            _rewrite(graph, layer, scale, shift, steps)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    _delete_unused_constants(graph)
    graph.recompile()


def _delete_unused_constants(graph: GraphModule) -> None:
    """Delete constants that no node reads any more."""
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in list(graph.named_buffers()):
        owner, _, last = name.rpartition(".")
        if owner in _HOLDERS and name not in used:
            delattr(graph.get_submodule(owner), last)


def _read_layer(graph: GraphModule, node: Node) -> Layer | None:
    if node.kwargs or len(node.args) < 2 or not all(isinstance(given, Node) for given in node.args[:3]):
        return None
    first, weight, *rest = (constant_value(graph, given) for given in node.args[:3] if isinstance(given, Node))
    name, module = operator_of(node), graph.get_submodule(str(node.target))
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


def _find_next_step(graph: GraphModule, before: Node, layer: Layer) -> tuple[Node, Tensor, Tensor] | None:
    """The scale or shift that follows `before`: its node, scale and shift per channel; None where there is none."""
    if len(before.users) != 1:
        return None
    (node,) = before.users
    name = operator_of(node)
    if name not in _STEPS or node.kwargs:
        return None
    values = [constant_value(graph, given) if isinstance(given, Node) else None for given in node.args]
    if name == "BatchNormalization":
        return _step_of_batch_norm(node, graph.get_submodule(str(node.target)), before, values)
    if len(values) != 2 or sum(value is None for value in values) != 1 or before not in node.args:
        return None
    first = node.args[0] is before
    constant = _to_channel_vector(values[1] if first else values[0], layer.trailing, layer.weight.shape[layer.axis])
    return None if constant is None else _step_of_arithmetic(node, name, constant, first)


def _step_of_batch_norm(
    node: Node, module: nn.Module, before: Node, values: list[Tensor | None]
) -> tuple[Node, Tensor, Tensor] | None:
    scale, bias, mean, variance = [*values[1:], None, None, None, None][:4]
    if scale is None or bias is None or mean is None or variance is None or node.args[0] is not before:
        return None
    if not getattr(module, "spatial", False):
        return None
    by = scale * torch.rsqrt(variance + float(module.eps))  # type: ignore[arg-type]
    return node, by, bias - mean * by


def _to_channel_vector(value: Tensor | None, trailing: int, channels: int) -> Tensor | None:
    """A constant that varies along channels only, as a vector [channels]; None for any other."""
    if value is None or not value.is_floating_point():
        return None
    if value.numel() == 1 and value.dim() <= trailing + 1:
        return value.reshape(1).expand(channels)
    shape = value.shape[value.dim() - trailing - 1 :] if value.dim() > trailing else ()
    fits = value.numel() == channels and tuple(shape) == (channels, *[1] * trailing)
    return value.reshape(channels) if fits else None


def _step_of_arithmetic(node: Node, name: str, value: Tensor, first: bool) -> tuple[Node, Tensor, Tensor] | None:
    one, zero = torch.ones_like(value), torch.zeros_like(value)
    if name == "Add":
        return node, one, value
    if name == "Sub":
        return (node, one, -value) if first else (node, -one, value)
    if name == "Mul":
        return node, value, zero
    return (node, 1 / value, zero) if first else None


def _rewrite(graph: GraphModule, layer: Layer, scale: Tensor, shift: Tensor, steps: list[Node]) -> None:
    """Replace a layer and its steps by one node with new weights."""
    shape = [1] * layer.weight.dim()
    shape[layer.axis] = -1
    bias = shift if layer.bias is None else layer.bias * scale + shift
    bias = bias if layer.position else bias.reshape(-1, 1)
    if operator_of(layer.node) == "MatMul":
        graph.add_submodule(str(layer.node.target), BiasedProduct(layer.module))
    with graph.graph.inserting_before(layer.node):
        inputs = [layer.node.args[layer.position], _add_attribute(graph, f"{layer.node.target}_bias", bias)]
        if bool((scale != 1).any()):
            inputs[0] = _add_attribute(graph, f"{layer.node.target}_weight", layer.weight * scale.reshape(shape))
    data = layer.node.args[1 - layer.position]
    layer.node.args = (data, *inputs) if layer.position else (inputs[0], data, inputs[1])
    steps[-1].replace_all_uses_with(layer.node)
    for step in reversed(steps):
        graph.graph.erase_node(step)


def _add_attribute(graph: GraphModule, name: str, value: Tensor) -> Node:
    if not hasattr(graph, "merged"):
        graph.add_module("merged", nn.Module())
    graph.get_submodule("merged").register_buffer(name, value.contiguous())
    return graph.graph.get_attr(f"merged.{name}")
