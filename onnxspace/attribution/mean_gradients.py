"""Means whose gradient is not written out: every element of a mean's input has the same one, which later operators read as often.

The quotient by the number of elements is computed before the gradient is repeated, not after, which gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.operators.reductions import Reduce
from onnxspace.torchgraph.view import module_of, operator_of


class _MeanFunction(torch.autograd.Function):
    """`function(x)`, the mean over axes; its gradient has the shape of `x`, and memory for one number per mean."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: nn.Module, axes: Sequence[int], keep: bool) -> Tensor:
        ctx.shape, ctx.axes, ctx.keep = x.shape, axes, keep
        return function(x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = gradients[0] / torch.Size([ctx.shape[axis] for axis in ctx.axes]).numel()
        for axis in () if ctx.keep else ctx.axes:
            gradient = gradient.unsqueeze(axis)
        return gradient.expand(ctx.shape), None, None, None


class Mean(nn.Module):
    """`function`, a mean over `axes` (None: all but the first two), which are kept with size one where `keep` says so."""

    def __init__(self, function: nn.Module, axes: Sequence[int] | None, keep: bool) -> None:
        super().__init__()
        self.function, self.axes, self.keep = function, axes, keep

    def forward(self, x: Tensor) -> Tensor:
        axes = range(2, x.dim()) if self.axes is None else sorted(axis % x.dim() for axis in self.axes)
        if not (x.requires_grad and axes):
            return self.function(x)  # type: ignore[no-any-return]
        return _MeanFunction.apply(x, self.function, axes, self.keep)  # type: ignore[no-any-return]


def replace_mean(graph: GraphModule, node: Node) -> None:
    """Let a mean over axes that are stored in the graph have such a gradient, where another one is added to it.

    Otherwise the operator before it would read the repeated number, and compute exponentials one by one, which rounds differently.
    """
    module, source = module_of(graph, node), node.args[0]
    if not isinstance(source, Node) or len(source.users) < 2:
        return
    if operator_of(node) == "GlobalAveragePool":
        graph.add_submodule(str(node.target), Mean(module, None, keep=True))
    elif isinstance(module, Reduce) and not node.kwargs and (axes := _read_axes(module, node)):
        node.args = node.args[:1]
        graph.add_submodule(str(node.target), Mean(Reduce(module.function, axes, module.keep, module.noop), axes, module.keep))


def _read_axes(module: Reduce, node: Node) -> list[int] | None:
    """The axes that a reduction holds, or that were written into the graph; None where they are computed, or all."""
    given = module.axes if module.axes is not None or len(node.args) < 2 else node.args[1]
    if not isinstance(given, (list, tuple)) or not all(isinstance(axis, int) for axis in given):
        return None
    return [int(axis) for axis in given]
