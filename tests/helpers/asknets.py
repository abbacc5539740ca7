"""Small networks of PyTorch of which a class, a region or attention is explained, and their export."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from onnxspace.inputs.config import ModelOptions
from onnxspace.model.model import Model, open_model

SIDE, CLASSES = 32, 5
#: Pixels around zero, as networks are trained with.
RANGE = ModelOptions(scale=1 / 64, mean=(2.0,), std=(1.0,))


class Convolutions(nn.Module):
    """Two convolutions and a squeeze-and-excitation between them, pooled; `layer` ends with positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.squeeze, self.layer, self.head = nn.Linear(8, 8), nn.SiLU(), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = x * self.squeeze(x.mean(dim=(2, 3))).sigmoid()[:, :, None, None]
        made: Tensor = self.head(self.layer(self.second(x)).mean(dim=(2, 3)))
        return made


class Residual(nn.Module):
    """A strided stem, two residual blocks with batch normalisation, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)) for _ in range(2)])
        self.layer, self.head = nn.ReLU(), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.blocks[0](x))
        made: Tensor = self.head(self.layer(x + self.blocks[1](x)).mean(dim=(2, 3)))
        return made


class Flattened(nn.Module):
    """Pooled maps that a dense layer reads position by position."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.layer, self.hidden, self.head = nn.MaxPool2d(4), nn.Linear(6 * 16, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.max_pool2d(torch.relu(self.first(x)), 2)
        made: Tensor = self.head(torch.relu(self.hidden(self.layer(torch.relu(self.second(x))).flatten(1))))
        return made


class Attention(nn.Module):
    """Attention of several heads, written out; `weights` are the probabilities of the last pass."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.weights = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(images, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        self.weights = ((q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
        made: Tensor = self.out((self.weights @ v).transpose(1, 2).reshape(images, tokens, width))
        return made


class Transformer(nn.Module):
    """A small ViT with 4 × 4 patches and a class token; with `pooled`, the mean of all tokens and no class token."""

    def __init__(self, depth: int = 2, width: int = 16, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled, count = pooled, 16 if pooled else 17
        self.patches, self.token = nn.Conv2d(3, width, 8, stride=8), nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, count, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * depth)])
        self.attentions = nn.ModuleList([Attention(width, 2) for _ in range(depth)])
        self.dense = nn.ModuleList([nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width)) for _ in range(depth)])
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    @property
    def layer(self) -> nn.Module:
        return self.norms[-2]

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if not self.pooled:
            tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + self.places
        for k, (attention, dense) in enumerate(zip(self.attentions, self.dense, strict=True)):
            tokens = tokens + attention(self.norms[2 * k](tokens))
            tokens = tokens + dense(self.norms[2 * k + 1](tokens))
        found = self.last(tokens)
        made: Tensor = self.head(found.mean(dim=1) if self.pooled else found[:, 0])
        return made


class Segmenter(nn.Module):
    """A value per class and position, at a quarter of the image's side, enlarged to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer, self.head = (
            nn.Conv2d(3, 8, 3, stride=4, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, CLASSES, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        found = self.head(self.layer(self.first(x)))
        made: Tensor = nn.functional.interpolate(found, scale_factor=4.0, mode="bilinear")
        return made


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": Convolutions,
    "residual": Residual,
    "flattened": Flattened,
    "transformer": Transformer,
    "pooled": lambda: Transformer(pooled=True),
}


def make_network(name: str, seed: int = 0) -> nn.Module:
    """A network of `NETWORKS` whose weights are larger than fresh ones, so that its attention and gates are no constants."""
    torch.manual_seed(seed)
    return enlarge(NETWORKS[name]())


def enlarge(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return net.eval()


def export(
    net: nn.Module, path: Path, names: Sequence[str] = (), outputs: Sequence[str] = ("logits",), *, dynamo: bool = False
) -> Model:
    """Write a network as ONNX, with the `names` of its classes in the metadata, and open it."""
    options: dict[str, Any] = {"dynamic_axes": {name: {0: "batch"} for name in ("image", *outputs)}, "opset_version": 17}
    if dynamo:
        options = {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "external_data": False, "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(2, 3, SIDE, SIDE),),
            str(path),
            dynamo=dynamo,
            input_names=["image"],
            output_names=list(outputs),
            **options,
        )
    if names:
        proto = onnx.load(str(path))
        onnx.helper.set_model_props(proto, {"names": json.dumps(list(names))})
        onnx.save(proto, str(path))
    return open_model(path, None, RANGE)
