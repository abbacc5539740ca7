"""Networks of PyTorch that the tests convert, as a user would write them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

SIZE = 16
SHAPE = (3, SIZE, SIZE)


def plain(width: int = 6, seed: int = 0) -> nn.Sequential:
    """Convolution, batch normalisation with statistics of its own, pooling, a dense layer. Layer `features` is before it."""
    torch.manual_seed(seed)
    made = nn.Sequential()
    made.add_module("conv", nn.Conv2d(3, width, 3, padding=1))
    made.add_module("norm", nn.BatchNorm2d(width))
    made.add_module("relu", nn.ReLU())
    made.add_module("second", nn.Conv2d(width, 8, 3, stride=2))
    made.add_module("act", nn.SiLU())
    made.add_module("pool", nn.AdaptiveAvgPool2d(1))
    made.add_module("features", nn.Flatten())
    made.add_module("head", nn.Linear(8, 4))
    with torch.no_grad():
        made.norm.running_mean.normal_()
        made.norm.running_var.uniform_(0.5, 2)
    return made.eval()


class Attending(nn.Module):
    """Patches, one block of PyTorch's own attention, the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.features = nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        made: Tensor = self.head(self.features(tokens.mean(1)))
        return made


def attending(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Attending().eval()


class Heads(nn.Module):
    """Two outputs under names."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = plain()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.trunk(x)
        return {"scores": found.softmax(-1), "logits": found}


def heads() -> nn.Module:
    return Heads().eval()


class OneByOne(nn.Module):
    """Right for one image only: what it adds depends on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = plain()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.trunk(x.reshape(1, 3, SIZE, SIZE))
        return made


class Stray(torch.autograd.Function):
    """What it exports is not what it computes."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def symbolic(graph: object, x: object) -> object:
        return graph.op("Identity", x)  # type: ignore[attr-defined]


def nothing() -> str:
    return "no network"


def failing(depth: int) -> nn.Module:
    raise ValueError(f"{depth} is no depth")


named = plain(seed=5)
named.default_cfg = {"input_size": SHAPE, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}  # type: ignore[assignment]


def write_program(folder: Path, network: nn.Module, batch: int | None = None) -> Path:
    """A network as an exported program `net.pt2`, of `batch` images (None: any number); returns its path."""
    axes = ({0: torch.export.Dim("batch")},) if batch is None else None
    torch.export.save(torch.export.export(network, (torch.randn(batch or 2, *SHAPE),), dynamic_shapes=axes), folder / "net.pt2")
    return folder / "net.pt2"
