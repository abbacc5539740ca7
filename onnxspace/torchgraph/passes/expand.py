"""Expansion of combined operators into their parts, so that one rule for each part covers all forms.

Attention is expanded rather than fused from MatMul, Softmax and MatMul: most files contain the parts, which have rules of
their own; there are many ways to scale and mask them, and an unrecognised form would get a different map. What ONNX
Runtime's optimiser fuses (a sum before a normalisation, a bias, an activation) is separated again.
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
from onnxspace.torchgraph.operators.attention import Attention
from onnxspace.torchgraph.operators.attention_heads import JoinHeads, MaskedSoftmax
from onnxspace.torchgraph.operators.fused import Conv, LinearActivation
from onnxspace.torchgraph.operators.fused_attention import AttentionInputs, FusedAttention, MultiHeadAttention, PackedAttention
from onnxspace.torchgraph.operators.fused_normalisation import SkipNorm
from onnxspace.torchgraph.operators.normalisation import LayerNorm, RMSNorm
from onnxspace.torchgraph.registry import Apply
from onnxspace.torchgraph.view import module_of, operator_of, submodule_name

_Outputs = dict[int, Node]


@dataclass
class Writer:
    """Adds the submodules that replace one node."""

    graph: GraphModule
    node: Node
    count: int = 0

    def add(self, name: str, module: nn.Module, *args: Any, **kwargs: Any) -> Node:
        """Add a call of the new submodule `module`, named after the operator `name`, with these arguments; returns the call."""
        target = submodule_name(name, self.node, chr(ord("a") + self.count))
        self.count += 1
        self.graph.add_submodule(target, module)
        return self.graph.graph.call_module(target, args, kwargs)

    def sum(self, *terms: object) -> Node:
        """Add the sum of those `terms` that are nodes; returns its node."""
        total, *rest = (term for term in terms if isinstance(term, Node))
        for term in rest:
            total = self.add("Add", Apply(torch.add), total, term)
        return total

    @property
    def given(self) -> dict[str, Node]:
        """The node's arguments, by the names of its module's parameters."""
        bound = inspect.signature(module_of(self.graph, self.node).forward).bind(*self.node.args, **self.node.kwargs)
        return {name: value for name, value in bound.arguments.items() if value is not None}


def expand_operators(graph: GraphModule) -> None:
    """Replace every combined operator of `graph` whose parts compute all of its outputs that are used, in place."""
    for node in list(graph.graph.nodes):
        recipe = _find_recipe(graph, node)
        used = _used_outputs(node) if recipe is not None else {}
        if recipe is not None and set(used.values()) <= _computed_outputs(graph, node):
            with graph.graph.inserting_before(node):
                _replace(graph, node, used, recipe(Writer(graph, node)))


def _used_outputs(node: Node) -> dict[Node, int]:
    """The nodes that stand for outputs of a node, with the outputs' indices: `pick` calls, or the node itself."""
    picks = {user: user.args[1] for user in node.users if user.target is pick}
    return {user: index for user, index in picks.items() if isinstance(index, int)} or {node: 0}


def _computed_outputs(graph: GraphModule, node: Node) -> set[int]:
    """Indices of the outputs that the parts compute: the first, and the sum before a normalisation."""
    return {0, 3} if isinstance(module_of(graph, node), SkipNorm) else {0}


def _replace(graph: GraphModule, node: Node, used: dict[Node, int], result: _Outputs) -> None:
    for user, index in used.items():
        user.replace_all_uses_with(result[index])
        if user is not node:
            graph.graph.erase_node(user)
    graph.graph.erase_node(node)


def _find_recipe(graph: GraphModule, node: Node) -> Callable[[Writer], _Outputs] | None:
    """The function that expands a node, by its operator or the class of its module; None where there is none."""
    name = operator_of(node)
    if not name:
        return None
    module = module_of(graph, node)
    by_class = next((recipe for kind, recipe in _BY_CLASS.items() if isinstance(module, kind)), None)
    return _BY_NAME.get(name, by_class)


def _attention(writer: Writer) -> _Outputs:
    """Attention of the ONNX standard: scaled product, soft cap, mask, softmax, product, joined heads."""
    module = module_of(writer.graph, writer.node)
    assert isinstance(module, Attention)
    given = writer.given
    factors = writer.add("AttentionInputs", AttentionInputs(module), *writer.node.args, **writer.node.kwargs)
    biased = bool(module.window) or "mask" in given or "lengths" in given
    cap = Apply(module.cap_scores) if module.softcap else None
    return _write_attention(writer, factors, biased, MaskedSoftmax() if biased else nn.Softmax(-1), cap)


def _packed_attention(writer: Writer) -> _Outputs:
    """Attention of ONNX Runtime, which includes its projection."""
    module, given = module_of(writer.graph, writer.node), writer.given
    assert isinstance(module, PackedAttention)
    product = writer.add("MatMul", Apply(torch.matmul), given["x"], given["weight"])
    projected = writer.sum(product, given.get("bias"))
    rest = (given.get(name) for name in ("mask", "past", "added"))
    factors = writer.add("AttentionInputs", AttentionInputs(module), projected, *rest)
    return _write_attention(writer, factors, _is_biased(module, given), nn.Softmax(-1))


def _multi_head_attention(writer: Writer) -> _Outputs:
    module = module_of(writer.graph, writer.node)
    assert isinstance(module, MultiHeadAttention)
    factors = writer.add("AttentionInputs", AttentionInputs(module), *writer.node.args, **writer.node.kwargs)
    return _write_attention(writer, factors, _is_biased(module, writer.given), nn.Softmax(-1))


def _is_biased(module: FusedAttention, given: dict[str, Node]) -> bool:
    return module.causal or "mask" in given or "added" in given


def _write_attention(writer: Writer, factors: Node, biased: bool, softmax: nn.Module, cap: nn.Module | None = None) -> _Outputs:
    queries, keys, values, bias, packed = (writer.graph.graph.call_function(pick, (factors, i)) for i in range(5))
    scores = writer.add("MatMul", Apply(torch.matmul), queries, keys)
    scores = scores if cap is None else writer.add("Activation", cap, scores)
    scores = writer.sum(scores, bias if biased else None)
    result = writer.add("MatMul", Apply(torch.matmul), writer.add("Softmax", softmax, scores), values)
    return {0: writer.add("Reshape", JoinHeads(), result, packed)}


def _skip_norm(writer: Writer) -> _Outputs:
    """A sum and its normalisation."""
    module, given = module_of(writer.graph, writer.node), writer.given
    assert isinstance(module, SkipNorm)
    total = writer.sum(given["x"], given["skip"], given.get("bias"))
    if module.centred:
        result = writer.add("LayerNormalization", LayerNorm(-1, module.eps, 1), total, given["scale"], given.get("beta"))
    else:
        result = writer.add("RMSNormalization", RMSNorm(-1, module.eps, 1), total, given["scale"])
    return {0: result, 3: total}


_NAMES: dict[type[nn.Module], str] = {
    nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid", nn.LeakyReLU: "LeakyRelu", nn.Hardtanh: "Clip",
    Apply: "HardSigmoid",
}  # fmt: skip


def _linear_and_activation(writer: Writer) -> _Outputs:
    """A convolution with a residual sum, or a matrix product, and its activation."""
    module, args = module_of(writer.graph, writer.node), writer.node.args
    assert isinstance(module, LinearActivation)
    name = "Conv" if isinstance(module.linear, Conv) else "Gemm"
    result = writer.sum(writer.add(name, module.linear, *args[:3]), *args[3:])
    activation = _NAMES.get(type(module.activation))
    return {0: result if activation is None else writer.add(activation, module.activation, result)}


def _gelu(writer: Writer) -> _Outputs:
    """BiasGelu, and FastGelu, which is its tanh approximation: a sum and Gelu."""
    total = writer.sum(*writer.node.args)
    return {0: writer.add("Gelu", nn.GELU("tanh" if operator_of(writer.node) == "FastGelu" else "none"), total)}


def _swiglu(writer: Writer) -> _Outputs:
    """Swish of one tensor times another; Swish is the operator with a second factor of one."""
    gate, value = writer.node.args
    module = module_of(writer.graph, writer.node)

    def swish(x: Tensor) -> Tensor:
        result: Tensor = module(x, torch.ones_like(x))
        return result

    return {0: writer.add("Mul", Apply(torch.mul), writer.add("Swish", Apply(swish), gate), value)}


def _rename_to(name: str) -> Callable[[Writer], _Outputs]:
    """The same module under the name of the standard's operator."""

    def recipe(writer: Writer) -> _Outputs:
        return {0: writer.add(name, module_of(writer.graph, writer.node), *writer.node.args, **writer.node.kwargs)}

    return recipe


_BY_NAME = {
    "BiasGelu": _gelu, "FastGelu": _gelu, "SwiGLU": _swiglu,
    "FusedMatMul": _rename_to("MatMul"), "TransposeMatMul": _rename_to("MatMul"),
    "SimplifiedLayerNormalization": _rename_to("RMSNormalization"),
}  # fmt: skip
_BY_CLASS: dict[type[nn.Module], Callable[[Writer], _Outputs]] = {
    Attention: _attention,
    PackedAttention: _packed_attention,
    MultiHeadAttention: _multi_head_attention,
    SkipNorm: _skip_norm,
    LinearActivation: _linear_and_activation,
}
