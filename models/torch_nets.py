"""The PyTorch networks: each is an encoder and a head, `decode(encode(x))`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(inside: int, outside: int, kernel: int = 3, groups: int = 1, act: str = "relu") -> nn.Sequential:
    """Convolution, batch norm and a nonlinearity ("" for none)."""
    layers = [nn.Conv2d(inside, outside, kernel, padding=kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outside)]
    kinds = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard": nn.Hardswish}
    return nn.Sequential(*layers, *([kinds[act]()] if act else []))


class Block(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width, act="")

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return torch.relu(x + self.second(self.first(x)))


class Inverted(nn.Module):
    """Widen, convolve each channel alone, narrow again; a shortcut around it."""

    def __init__(self, width: int, act: str) -> None:
        super().__init__()
        wide = 3 * width
        self.body = nn.Sequential(conv(width, wide, 1, act=act), conv(wide, wide, 3, wide, act), conv(wide, width, 1, act=""))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return x + self.body(x)


class Net(nn.Module):
    """An encoder followed by a head; `decode` gives logits, `forward` the answer."""

    encoder: nn.Module
    head: nn.Module

    def encode(self, x: Tensor) -> Tensor:
        """The tensor that is explained."""
        return self.encoder(x)

    def decode(self, code: Tensor) -> Tensor:
        """Logits from the encoder's output."""
        return self.head(code)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores; maps in 0..1 from an EncoderDecoder."""
        return self.decode(self.encode(x))


class Residual(Net):
    """A small ResNet that shrinks by average pooling; 64 units before the head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(3, 16),
            nn.AvgPool2d(2),
            conv(16, 32),
            nn.AvgPool2d(2),
            Block(32),
            conv(32, 64),
            nn.AvgPool2d(2),
            Block(64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, classes)


class Mobile(Net):
    """Depthwise convolutions with ReLU6 and Hardswish; 64 units before the head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(3, 16, act="relu6"),
            nn.AvgPool2d(2),
            Inverted(16, "relu6"),
            conv(16, 32, 1),
            nn.AvgPool2d(2),
            Inverted(32, "hard"),
            Inverted(32, "hard"),
            conv(32, 64, 1),
            nn.AvgPool2d(2),
            Inverted(64, "hard"),
            Inverted(64, "hard"),
            conv(64, 64, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, classes)


class EncoderDecoder(Net):
    """To 48 x 8 x 8 and back to one value per pixel, with nothing around the bottleneck.

    The head begins wider, so that the narrowest tensor is the encoder's output.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(3, 16), nn.AvgPool2d(2), conv(16, 32), nn.AvgPool2d(2), conv(32, 48), nn.AvgPool2d(2), Block(48), conv(48, 48)
        )
        up = (nn.ConvTranspose2d(64, 32, 2, 2), nn.Upsample(scale_factor=2, mode="nearest"))
        self.head = nn.Sequential(
            conv(48, 64),
            up[0],
            nn.ReLU(),
            conv(32, 32),
            up[1],
            conv(32, 24),
            nn.ConvTranspose2d(24, 16, 2, 2),
            nn.ReLU(),
            conv(16, 16),
            nn.Conv2d(16, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Values in 0..1, [images, channels, height, width]."""
        return torch.sigmoid(super().forward(x))


class Digits(Net):
    """A plain convnet for grey 32 x 32 images; 48 units before the head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(1, 16, 5),
            nn.MaxPool2d(2),
            conv(16, 32),
            nn.MaxPool2d(2),
            conv(32, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(1024, 48),
            nn.ReLU(),
        )
        self.head = nn.Linear(48, classes)
