"""Networks of further kinds for pairs: depthwise convolutions, a decoder, recurrent layers, attention with one projection, a perceptron."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import cache

import onnx
import torch
from onnx import ModelProto
from torch import nn

from tests.helpers.diff_pairs import SIZE


class Inverted(nn.Module):
    """A wide depthwise convolution between two of one pixel, with a gate of channels and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width)
        self.depth = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False)
        self.norm2, self.act = nn.BatchNorm2d(2 * width), nn.Hardswish()
        self.squeeze, self.excite = nn.Conv2d(2 * width, 8, 1), nn.Conv2d(8, 2 * width, 1)
        self.project, self.norm3 = nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm2(self.depth(self.act(self.norm1(self.expand(x))))))
        gate = nn.functional.hardsigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + self.norm3(self.project(y * gate))  # type: ignore[no-any-return]


class Mobile(nn.Module):
    """Two such blocks behind a stem, and a head of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.act = nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.Hardswish()
        self.blocks = nn.Sequential(Inverted(12), Inverted(12))
        self.wide, self.head = nn.Linear(12, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.act(self.norm(self.stem(x)))).mean((2, 3))
        return self.head(self.act(self.wide(x)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Two steps down, two up, each joined with what was before it; a map of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.middle, self.pool = nn.Conv2d(16, 16, 3, padding=1), nn.MaxPool2d(2)
        self.up1, self.join1 = nn.ConvTranspose2d(16, 16, 2, 2), nn.Conv2d(32, 16, 3, padding=1)
        self.join2, self.head = nn.Conv2d(24, 8, 3, padding=1), nn.Conv2d(8, 3, 1)
        self.norm = nn.InstanceNorm2d(16, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = torch.relu(self.first(x))
        two = torch.relu(self.norm(self.second(self.pool(one))))
        low = torch.relu(self.middle(self.pool(two)))
        up = torch.relu(self.join1(torch.cat([self.up1(low), two], 1)))
        up = nn.functional.interpolate(up, scale_factor=2, mode="nearest")
        return torch.sigmoid(self.head(torch.relu(self.join2(torch.cat([up, one], 1)))))


class Recurrent(nn.Module):
    """Rows of the image in turn, by an LSTM of both directions and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.long = nn.Linear(3 * SIZE, 24), nn.LSTM(24, 16, batch_first=True, bidirectional=True)
        self.short, self.head = nn.GRU(32, 20, batch_first=True), nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.rows(x.transpose(1, 2).flatten(2)))
        return self.head(self.short(self.long(x)[0])[0][:, -1])  # type: ignore[no-any-return]


class Joined(nn.Module):
    """A transformer whose queries, keys and values are one product, with a token of the class and normalisation behind the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 24, 8, 8), nn.Parameter(torch.randn(1, 1, 24))
        self.places = nn.Parameter(0.3 * torch.randn(1, 17, 24))
        self.joined = nn.ModuleList(nn.Linear(24, 72) for _ in range(3))
        self.writes = nn.ModuleList(nn.Linear(24, 24, bias=False) for _ in range(3))
        self.ups, self.downs = (nn.ModuleList(nn.Linear(a, b) for _ in range(3)) for a, b in ((24, 48), (48, 24)))
        self.norms1, self.norms2 = (nn.ModuleList(nn.LayerNorm(24) for _ in range(3)) for _ in range(2))
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        for i in range(3):
            parts = self.joined[i](x).reshape(-1, 17, 3, 4, 6).permute(2, 0, 3, 1, 4)
            shares = (parts[0] @ parts[1].transpose(-2, -1) / 6**0.5).softmax(-1)
            x = self.norms1[i](x + self.writes[i]((shares @ parts[2]).transpose(1, 2).reshape(-1, 17, 24)))
            x = self.norms2[i](x + self.downs[i](nn.functional.silu(self.ups[i](x))))
        return self.head(x[:, 0])  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """Three layers on the pixels, which are standardised first."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = (nn.Parameter(torch.rand(1, 3, 1, 1) + 0.2) for _ in range(2))
        self.one, self.two, self.three = nn.Linear(3 * SIZE * SIZE, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = ((x - self.mean) / self.std).flatten(1)
        return self.three(torch.tanh(self.two(torch.tanh(self.one(x))))).softmax(1)  # type: ignore[no-any-return]


def write(
    network: nn.Module, *, opset: int = 17, folded: bool = True, batch: bool = False, dynamo: bool = False, size: int = SIZE
) -> ModelProto:
    """The network as PyTorch writes it."""
    example = (torch.zeros(1, 3, size, size),)
    if dynamo:
        program = torch.onnx.export(network.eval(), example, dynamo=True, opset_version=18, verbose=False)
        assert program is not None
        return program.model_proto
    file = io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        network.eval(), example, file, dynamo=False, opset_version=opset, do_constant_folding=folded, training=mode,
        input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "batch"}} if batch else None,
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


KINDS: dict[str, Callable[[], nn.Module]] = {
    "mobile": Mobile, "decoder": Decoder, "recurrent": Recurrent, "joined": Joined, "perceptron": Perceptron,
}  # fmt: skip


def make_kind(kind: str) -> nn.Module:
    """A network of a kind, with weights twice as large as drawn and statistics of normalisations that were gathered on noise."""
    torch.manual_seed(11)
    network = KINDS[kind]().train()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("weight") and value.ndim > 1 and kind != "recurrent":
                value *= 1.5
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.InstanceNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        for _ in range(6):
            network(torch.randn(8, 3, SIZE, SIZE))
    return network.eval()


@cache
def _write_kind(kind: str, opset: int, folded: bool, batch: bool, dynamo: bool) -> ModelProto:
    return write(make_kind(kind), opset=opset, folded=folded, batch=batch, dynamo=dynamo)


def write_kind(kind: str, *, opset: int = 17, folded: bool = False, batch: bool = False, dynamo: bool = False) -> ModelProto:
    """The file of a network of a kind; it may be changed."""
    return copy.deepcopy(_write_kind(kind, opset, folded, batch, dynamo))
