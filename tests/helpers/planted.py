"""Faults of one per cent, planted in one operator of a converted graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from onnxspace.torchgraph.build import Builder

#: Changes the module of a node; what it returns takes the module's place.
Fault = Callable[[nn.Module], nn.Module]


class Scaled(nn.Module):
    """A module whose floating-point results are one per cent too large."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Any) -> Any:
        made = self.inner(*inputs)
        return tuple(map(_scale, made)) if isinstance(made, tuple) else _scale(made)


def _scale(value: torch.Tensor) -> torch.Tensor:
    return value * 1.01 if value.is_floating_point() else value


class FirstArgument(nn.Module):
    """A module that gets another argument at one place."""

    def __init__(self, inner: nn.Module, place: int, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.place, self.change = inner, place, change

    def forward(self, *inputs: Any) -> Any:
        given = list(inputs)
        given[self.place] = self.change(given[self.place])
        return self.inner(*given)


def scaled_input(place: int) -> Fault:
    """The input at `place` (a weight, a scale) is one per cent too large."""
    return lambda module: FirstArgument(module, place, lambda value: value * 1.01)


def plant(patch: pytest.MonkeyPatch, output: str, fault: Fault) -> None:
    """Plant a fault in the node that computes the tensor `output`, in every graph that is built from now on."""
    convert = Builder._convert

    def changed(self: Builder, node: onnx.NodeProto) -> tuple[nn.Module, tuple[str, ...]]:
        module, names = convert(self, node)
        return (fault(module) if output in node.output else module), names

    patch.setattr(Builder, "_convert", changed)
