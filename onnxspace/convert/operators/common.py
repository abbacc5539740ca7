"""Activations that onnx2torch lacks, and global pooling."""

from __future__ import annotations

import torch
from torch import nn

from onnxspace.convert.node import Apply, Made, Node, converter


@converter("Gelu", 20)
def gelu(node: Node) -> Made:
    """Gelu in either form."""
    return nn.GELU(approximate=node.get("approximate", "none"))


@converter("Mish", 18, 22)
def mish(_node: Node) -> Made:
    """Mish."""
    return nn.Mish()


@converter("GlobalAveragePool", 1, 22)
def global_average_pool(_node: Node) -> Made:
    """Mean over all spatial positions, which stay as axes of size one."""
    return Apply(lambda x: torch.mean(x, dim=tuple(range(2, x.dim())), keepdim=True))


@converter("GlobalMaxPool", 1, 22)
def global_max_pool(_node: Node) -> Made:
    """Maximum over all spatial positions, which stay as axes of size one."""
    return Apply(lambda x: torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True))
