"""Operators that hold several, written out as the submodules they stand for: one rule for each piece serves all forms.

Attention goes this way, and is not put together from MatMul, Softmax, MatMul: most files hold the pieces, which have rules
of their own; there are many ways to scale and mask them, and a form that was not recognised would get another map. What
ONNX Runtime's optimiser merges (a sum before a normalisation, a bias or an activation) is separated again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.build import pick
from onnxspace.torchgraph.operators.attention import (
    AllowedSoftmax,
    Attention,
    AttentionInputs,
    FusedAttention,
    Join,
    MultiHeadAttention,
    PackedAttention,
)
from onnxspace.torchgraph.operators.fused import Conv, Fused
from onnxspace.torchgraph.operators.normalisation import LayerNorm, RMSNorm, SkipNorm
from onnxspace.torchgraph.registry import Apply
from onnxspace.torchgraph.view import alike, module_of, operator

_Outputs = dict[int, Node]


@dataclass
class Writer:
    """Adds submodules in the place of one node."""

    graph: GraphModule
    node: Node
    count: int = 0

    def add(self, name: str, module: nn.Module, *args: Any, **kwargs: Any) -> Node:
        """A call of a new submodule, named after the operator `name`."""
        target = alike(name, self.node, chr(ord("a") + self.count))
        self.count += 1
        self.graph.add_submodule(target, module)
        return self.graph.graph.call_module(target, args, kwargs)

    def sum(self, *terms: object) -> Node:
        """The sum of those given."""
        total, *rest = (term for term in terms if isinstance(term, Node))
        for term in rest:
            total = self.add("Add", Apply(torch.add), total, term)
        return total

    @property
    def given(self) -> dict[str, Node]:
        """What the node is called with, by the names of its module's parameters."""
        bound = inspect.signature(module_of(self.graph, self.node).forward).bind(*self.node.args, **self.node.kwargs)
        return {name: value for name, value in bound.arguments.items() if value is not None}


def write_out(graph: GraphModule) -> None:
    """Replace every such operator of `graph` whose pieces compute all that is used of it."""
    for node in list(graph.graph.nodes):
        recipe = _recipe(graph, node)
        used = _used(node) if recipe is not None else {}
        if recipe is not None and set(used.values()) <= _computed(graph, node):
            with graph.graph.inserting_before(node):
                _replace(graph, node, used, recipe(Writer(graph, node)))


def _used(node: Node) -> dict[Node, int]:
    """The nodes that stand for outputs of a node, with their numbers: what picks them, or the node itself."""
    picks = {user: user.args[1] for user in node.users if user.target is pick}
    return {user: index for user, index in picks.items() if isinstance(index, int)} or {node: 0}


def _computed(graph: GraphModule, node: Node) -> set[int]:
    """The outputs that the pieces compute: the first, and the sum behind a normalisation."""
    return {0, 3} if isinstance(module_of(graph, node), SkipNorm) else {0}


def _replace(graph: GraphModule, node: Node, used: dict[Node, int], made: _Outputs) -> None:
    for user, index in used.items():
        user.replace_all_uses_with(made[index])
        if user is not node:
            graph.graph.erase_node(user)
    graph.graph.erase_node(node)


def _recipe(graph: GraphModule, node: Node) -> Callable[[Writer], _Outputs] | None:
    """How to write out a node, by its operator or the class of its module."""
    name = operator(node)
    if not name:
        return None
    module = module_of(graph, node)
    by_class = next((recipe for kind, recipe in _BY_CLASS.items() if isinstance(module, kind)), None)
    return _BY_NAME.get(name, by_class)


def _attention(writer: Writer) -> _Outputs:
    """Attention of the standard: scaled product, soft cap, mask, softmax, product, heads joined."""
    module = module_of(writer.graph, writer.node)
    assert isinstance(module, Attention)
    given = writer.given
    pieces = writer.add("AttentionInputs", AttentionInputs(module), *writer.node.args, **writer.node.kwargs)
    biased = bool(module.window) or "mask" in given or "lengths" in given
    cap = Apply(module.capped) if module.softcap else None
    return _attended(writer, pieces, biased, AllowedSoftmax() if biased else nn.Softmax(-1), cap)


def _packed_attention(writer: Writer) -> _Outputs:
    """Attention of ONNX Runtime, behind its projection."""
    module, given = module_of(writer.graph, writer.node), writer.given
    assert isinstance(module, PackedAttention)
    product = writer.add("MatMul", Apply(torch.matmul), given["x"], given["weight"])
    projected = writer.sum(product, given.get("bias"))
    rest = (given.get(name) for name in ("mask", "past", "added"))
    pieces = writer.add("AttentionInputs", AttentionInputs(module), projected, *rest)
    return _attended(writer, pieces, _is_biased(module, given), nn.Softmax(-1))


def _multi_head_attention(writer: Writer) -> _Outputs:
    module = module_of(writer.graph, writer.node)
    assert isinstance(module, MultiHeadAttention)
    pieces = writer.add("AttentionInputs", AttentionInputs(module), *writer.node.args, **writer.node.kwargs)
    return _attended(writer, pieces, _is_biased(module, writer.given), nn.Softmax(-1))


def _is_biased(module: FusedAttention, given: dict[str, Node]) -> bool:
    return module.causal or "mask" in given or "added" in given


def _attended(writer: Writer, pieces: Node, biased: bool, softmax: nn.Module, cap: nn.Module | None = None) -> _Outputs:
    queries, keys, values, bias, packed = (writer.graph.graph.call_function(pick, (pieces, i)) for i in range(5))
    scores = writer.add("MatMul", Apply(torch.matmul), queries, keys)
    scores = scores if cap is None else writer.add("Activation", cap, scores)
    scores = writer.sum(scores, bias if biased else None)
    made = writer.add("MatMul", Apply(torch.matmul), writer.add("Softmax", softmax, scores), values)
    return {0: writer.add("Reshape", Join(), made, packed)}


def _skip_norm(writer: Writer) -> _Outputs:
    """A sum, and its normalisation."""
    module, given = module_of(writer.graph, writer.node), writer.given
    assert isinstance(module, SkipNorm)
    total = writer.sum(given["x"], given["skip"], given.get("bias"))
    if module.centred:
        made = writer.add("LayerNormalization", LayerNorm(-1, module.eps, 1), total, given["scale"], given.get("beta"))
    else:
        made = writer.add("RMSNormalization", RMSNorm(-1, module.eps, 1), total, given["scale"])
    return {0: made, 3: total}


_NAMES: dict[type[nn.Module], str] = {
    nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid", nn.LeakyReLU: "LeakyRelu", nn.Hardtanh: "Clip",
    Apply: "HardSigmoid",
}  # fmt: skip


def _linear_and_activation(writer: Writer) -> _Outputs:
    """A convolution with a residual sum, or a matrix product, and an activation."""
    module, args = module_of(writer.graph, writer.node), writer.node.args
    assert isinstance(module, Fused)
    name = "Conv" if isinstance(module.linear, Conv) else "Gemm"
    made = writer.sum(writer.add(name, module.linear, *args[:3]), *args[3:])
    activation = _NAMES.get(type(module.activation))
    return {0: made if activation is None else writer.add(activation, module.activation, made)}


def _gelu(writer: Writer) -> _Outputs:
    """A sum and Gelu: BiasGelu, and FastGelu, which is the tanh form."""
    total = writer.sum(*writer.node.args)
    return {0: writer.add("Gelu", nn.GELU("tanh" if operator(writer.node) == "FastGelu" else "none"), total)}


def _swiglu(writer: Writer) -> _Outputs:
    """Swish of one tensor, which is what the operator makes of it and one, times another."""
    gate, value = writer.node.args
    module = module_of(writer.graph, writer.node)

    def swish(x: Tensor) -> Tensor:
        made: Tensor = module(x, torch.ones_like(x))
        return made

    return {0: writer.add("Mul", Apply(torch.mul), writer.add("Swish", Apply(swish), gate), value)}


def _renamed(name: str) -> Callable[[Writer], _Outputs]:
    """The same module under the standard's name."""

    def recipe(writer: Writer) -> _Outputs:
        return {0: writer.add(name, module_of(writer.graph, writer.node), *writer.node.args, **writer.node.kwargs)}

    return recipe


_BY_NAME = {
    "BiasGelu": _gelu, "FastGelu": _gelu, "SwiGLU": _swiglu,
    "FusedMatMul": _renamed("MatMul"), "TransposeMatMul": _renamed("MatMul"),
    "SimplifiedLayerNormalization": _renamed("RMSNormalization"),
}  # fmt: skip
_BY_CLASS: dict[type[nn.Module], Callable[[Writer], _Outputs]] = {
    Attention: _attention,
    PackedAttention: _packed_attention,
    MultiHeadAttention: _multi_head_attention,
    SkipNorm: _skip_norm,
    Fused: _linear_and_activation,
}
