"""Two more small networks for pairs: one of images with pooling, resizing and other activations, and one of tokens with attention."""

from __future__ import annotations

import copy
import io
from functools import cache

import onnx
import torch
from onnx import ModelProto
from torch import nn

from tests.helpers.diff_pairs import SIZE


class Dense(nn.Module):
    """A classifier of pixels: a stride, dilation, pooling with padding, resizing, and a softmax over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish()
        self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.wide, self.leaky = nn.Conv2d(16, 24, 3, padding=2, dilation=2), nn.LeakyReLU(0.1)
        self.depth, self.six = nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.ReLU6()
        self.mix, self.head = nn.Conv2d(24, 24, 1), nn.Conv2d(24, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.leaky(self.wide(self.pool(self.act(self.stem(x)))))
        x = x + self.mix(self.six(self.depth(x)))
        x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(x).softmax(1)


class Block(nn.Module):
    """Attention and a perceptron, each behind a normalisation and beside a shortcut."""

    def __init__(self, width: int, heads: int, approximate: str) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.write, self.up, self.down = nn.Linear(width, width), nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.act = nn.GELU(approximate=approximate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, tokens, width = x.shape
        y = self.first(x)
        query, key, value = (
            layer(y).reshape(images, tokens, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        shares = (query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.write((shares @ value).transpose(1, 2).reshape(images, tokens, width))
        return x + self.down(self.act(self.up(self.second(x))))


class Tokens(nn.Module):
    """A vision transformer of two blocks."""

    def __init__(self, approximate: str = "none", classes: int = 10) -> None:
        super().__init__()
        self.patches, self.places = nn.Conv2d(3, 32, 8, 8), nn.Parameter(0.3 * torch.randn(1, 16, 32))
        self.blocks = nn.Sequential(Block(32, 4, approximate), Block(32, 4, approximate))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))


def _write(network: nn.Module, opset: int, *, folded: bool, batch: bool = False) -> ModelProto:
    file = io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    axes = {"image": {0: "batch"}} if batch else None
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, SIZE, SIZE),), file, dynamo=False, opset_version=opset, do_constant_folding=folded,
        training=mode, input_names=["image"], output_names=["logits"], dynamic_axes=axes,
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


@cache
def _write_dense() -> ModelProto:
    torch.manual_seed(4)
    network = Dense()
    with torch.no_grad():
        for layer in (network.stem, network.wide, network.depth, network.mix, network.head):
            layer.weight *= 2
    return _write(network, 17, folded=True)


def write_dense() -> ModelProto:
    """The classifier of pixels."""
    return copy.deepcopy(_write_dense())


@cache
def _write_tokens(approximate: str, opset: int, folded: bool, batch: bool) -> ModelProto:
    torch.manual_seed(5)
    network = Tokens(approximate)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "weight" in name:
                value *= 2
    return _write(network, opset, folded=folded, batch=batch)


def write_tokens(approximate: str = "none", opset: int = 17, *, folded: bool = True, batch: bool = False) -> ModelProto:
    """The transformer: with a GELU by its formula or approximated, of an opset, with shapes as constants, or for any number of images."""
    return copy.deepcopy(_write_tokens(approximate, opset, folded, batch))
