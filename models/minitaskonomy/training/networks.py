"""The PyTorch networks: an encoder to 48 channels on an 8 × 8 grid, and a decoder for the shape of the task's label.

All tasks share one encoder architecture, `residual`, as all of Taskonomy's do; `convnext` is the second group's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.minitaskonomy.tasks import SIZE, Kind

WIDTH, GRID = 48, 8


class Net(nn.Module):
    """An encoder followed by a decoder. `forward` takes float32 [images, 3, 64, 64] in −1..1 and gives what the kind asks for:
    [images, channels, 64, 64] for images and for the classes of pixels, [images, channels] for classes and vectors."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        """Standardised values, or class scores."""
        answer: Tensor = self.decoder(self.encoder(x))
        return answer


def build_network(kind: Kind, channels: int, architecture: str = "residual") -> Net:
    """An untrained network for a kind of label; `architecture` is a key of ENCODERS."""
    return Net(ENCODERS[architecture](), build_decoder(kind, channels))


def build_conv(inside: int, outside: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outside))


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut; the first may halve the image."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = build_conv(inside, outside, stride=stride), build_conv(outside, outside)
        self.shortcut = nn.Identity() if stride == 1 and inside == outside else build_conv(inside, outside, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[n, inside, h, w] → [n, outside, h / stride, w / stride], nowhere negative."""
        rest: Tensor = self.relu(self.shortcut(x) + self.second(self.relu(self.first(x))))
        return rest


def build_residual() -> nn.Module:
    """A small ResNet: 84 thousand weights, 7.5 million products per image."""
    return nn.Sequential(
        build_conv(3, 16, stride=2),
        nn.ReLU(),
        ResidualBlock(16, 24, 2),
        ResidualBlock(24, WIDTH, 2),
        ResidualBlock(WIDTH, WIDTH, 1),
    )


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] → the same."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class ConvNeXtBlock(nn.Module):
    """ConvNeXt's block: each channel alone over 7 × 7 pixels, then each pixel alone, twice as wide in between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.mix = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        mixed: Tensor = x + self.mix(self.norm(self.spread(x)))
        return mixed


def build_convnext() -> nn.Module:
    """Patches of 4 × 4, two blocks at 16 × 16, two at 8 × 8 (Liu et al., CVPR 2022, made small): 41 thousand weights."""
    half = WIDTH // 2
    stem = (nn.Conv2d(3, half, 4, 4), ChannelNorm(half), ConvNeXtBlock(half), ConvNeXtBlock(half))
    return nn.Sequential(
        *stem, ChannelNorm(half), nn.Conv2d(half, WIDTH, 2, 2), ConvNeXtBlock(WIDTH), ConvNeXtBlock(WIDTH), ChannelNorm(WIDTH)
    )


def build_decoder(kind: Kind, channels: int) -> nn.Module:
    """From [n, 48, 8, 8] to the label's shape; pixels by three sub-pixel convolutions (Shi et al., CVPR 2016)."""
    if kind == "classes":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, channels))
    if kind == "vector":  # where things are matters
        return nn.Sequential(nn.Conv2d(WIDTH, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * GRID * GRID, channels))
    quarter = WIDTH // 4
    up = [nn.Sequential(build_conv(inside, WIDTH), nn.ReLU(), nn.PixelShuffle(2)) for inside in (WIDTH, quarter)]
    return nn.Sequential(*up, nn.Conv2d(quarter, 4 * channels, 3, padding=1), nn.PixelShuffle(2))


ENCODERS = {"residual": build_residual, "convnext": build_convnext}


def compute_loss(kind: Kind, found: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of standardised values, or cross-entropy of classes."""
    if kind in ("image", "vector"):
        return functional.mse_loss(found, truth)
    return functional.cross_entropy(found, truth)


def scale(pictures: Tensor) -> Tensor:
    """uint8 [n, 3, 64, 64] as float32 in −1..1."""
    assert pictures.shape[1:] == (3, SIZE, SIZE)
    return pictures.to(torch.float32) / 127.5 - 1.0
