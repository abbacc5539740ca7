"""Early experimental operators without a schema in the ONNX standard, which ONNX Runtime still runs.

Without a schema there is no schema version, so each is registered for every opset.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

_EVERY = range(1, 29)


class ScaleBias(nn.Module):
    """`x · scale + bias`, with one scale and a bias per channel."""

    def __init__(self, scale: float, bias: list[float]) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("bias", torch.tensor(bias).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.get_buffer("bias")


@converter("ImageScaler", *_EVERY)
def image_scaler(node: Node) -> TorchOperator:
    """ImageScaler."""
    return ScaleBias(node.get("scale", 1.0), node.get("bias", [0.0]))


@converter("Affine", *_EVERY)
def affine(node: Node) -> TorchOperator:
    """`alpha · x + beta`."""
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 0.0)
    return Apply(lambda x: alpha * x + beta)


@converter("Crop", *_EVERY)
def crop(node: Node) -> TorchOperator:
    """Crop: removes a border (left, top, right, bottom), or keeps a size from the upper left border on."""
    left, top, right, bottom = node.get("border")
    scale = node.get("scale")
    if scale:
        return Apply(lambda x: x[..., top : top + scale[0], left : left + scale[1]])
    return Apply(lambda x: x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right])
