"""Small networks whose encoders lie behind a normalisation, as architectures write it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Tokens(nn.Module):
    """A vision transformer's last block on 16 patches, a norm, and what `end` makes of the tokens."""

    def __init__(self, end: Callable[[Tensor], Tensor], width: int = 24) -> None:
        super().__init__()
        self.patches, self.end = nn.Conv2d(3, width, 4, stride=4), end
        self.first, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))
        self.mix = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.mix(self.first(x).transpose(1, 2)).transpose(1, 2)
        return self.end(self.last(x + self.dense(x)))


class OverChannels(nn.Module):
    """Layer normalisation of channel-first tensors in parts, as EdgeNeXt writes it."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)


class ChannelsLast(nn.Module):
    """Layer normalisation of channel-first tensors by moving their channels, as ConvNeXt writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return made


def convolutions(*end: nn.Module) -> nn.Module:
    """A residual block of 24 channels and what follows it."""
    return nn.Sequential(nn.Conv2d(3, 24, 4, stride=4), Residual(24), *end)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial, self.dense = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + self.dense(F.gelu(self.spatial(x)))
        return made


POOLED = nn.AdaptiveAvgPool2d(1)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ViT, class token, headless": lambda: Tokens(lambda x: x[:, 0]),
    "ViT, mean of tokens": lambda: nn.Sequential(Tokens(lambda x: x.mean(1)), nn.Linear(24, 5)),
    "ConvNeXt": lambda: convolutions(POOLED, ChannelsLast(24), nn.Flatten(), nn.Linear(24, 5)),
    "EdgeNeXt": lambda: convolutions(OverChannels(), POOLED, nn.Flatten(), nn.Linear(24, 5)),
    "InstanceNorm": lambda: convolutions(nn.InstanceNorm2d(24, affine=True), nn.Conv2d(24, 48, 4)),
    "Softmax": lambda: convolutions(POOLED, nn.Flatten(), nn.Linear(24, 12), nn.Softmax(-1), nn.Linear(12, 5)),
}
