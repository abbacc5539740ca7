"""Four small architectures for 32 × 32 images: each an encoder to a few dozen numbers, and a linear head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.realzoo.data.pool import SIZE

Modules = tuple[nn.Module, ...]


class Network(nn.Module):
    """`encode` gives float32 [images, features] of float32 [images, 3, 32, 32], `forward` logits [images, classes]."""

    def __init__(self, encoder: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head, self.features = encoder, nn.Linear(features, classes), features

    def encode(self, x: Tensor) -> Tensor:
        """What a transfer starts from."""
        found: Tensor = self.encoder(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        found: Tensor = self.head(self.encode(x))
        return found


def convolve(inside: int, outside: int, stride: int = 1, groups: int = 1, kernel: int = 3, norm: bool = True) -> nn.Sequential:
    """A convolution with batch normalisation, or with a bias and without."""
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=not norm)
    return nn.Sequential(layer, nn.BatchNorm2d(outside)) if norm else nn.Sequential(layer)


class Block(nn.Module):
    """Two normalised convolutions with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = convolve(width, width), convolve(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def build_residual(classes: int) -> Network:
    """Two residual blocks: 28 features."""
    layers: Modules = (
        convolve(3, 16, 2), nn.ReLU(),
        convolve(16, 24, 2), nn.ReLU(), Block(24),
        convolve(24, 28, 2), nn.ReLU(), Block(28),
    )  # fmt: skip
    return Network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 28, classes)


def build_plain(classes: int, norm: bool = True) -> Network:
    """Four convolutions with max pooling: 36 features. Without normalisation, three and a fully connected layer: 40."""
    layers: list[nn.Module] = []
    for inside, outside in ((3, 12), (12, 24), (24, 32)):
        layers += [convolve(inside, outside, norm=norm), nn.ReLU(), nn.MaxPool2d(2)]
    if norm:
        layers += [convolve(32, 36), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return Network(nn.Sequential(*layers), 36, classes)
    layers += [nn.Flatten(), nn.Linear(512, 40), nn.ReLU()]
    return Network(nn.Sequential(*layers), 40, classes)


def build_bare(classes: int) -> Network:
    """The plain network without normalisation."""
    return build_plain(classes, norm=False)


def build_depthwise(classes: int) -> Network:
    """Five depthwise-separable steps with ReLU6: 80 features."""
    layers: list[nn.Module] = [convolve(3, 16, 2), nn.ReLU6()]
    for inside, outside, stride in ((16, 32, 1), (32, 48, 2), (48, 48, 1), (48, 64, 2), (64, 80, 1)):
        layers += [convolve(inside, inside, stride, groups=inside), nn.ReLU6(), convolve(inside, outside, kernel=1), nn.ReLU6()]
    return Network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 80, classes)


class Layer(nn.Module):
    """Self-attention and a two-layer perceptron, each normalised first and with a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.behind = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[images, tokens, width] in and out."""
        tokens, width = x.shape[1:]
        parts = self.mixed(self.before(x)).reshape(-1, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        x = x + self.joined(attended.transpose(1, 2).reshape(-1, tokens, width))
        grown: Tensor = x + self.mlp(self.behind(x))
        return grown


class Tokens(nn.Module):
    """Patches of 4 × 4 as tokens with learned places, three layers, the mean over tokens."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(1, (SIZE // 4) ** 2, width))
        self.layers, self.norm = nn.Sequential(*(Layer(width, heads) for _ in range(depth))), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[images, width]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        found: Tensor = self.norm(self.layers(tokens)).mean(dim=1)
        return found


def build_vit(classes: int) -> Network:
    """A vision transformer of three layers: 32 features."""
    return Network(Tokens(32, 3, 4), 32, classes)


ARCHITECTURES = {
    "residual": build_residual,
    "plain": build_plain,
    "bare": build_bare,
    "depthwise": build_depthwise,
    "vit": build_vit,
}


def build_network(architecture: str, classes: int, seed: int = 0) -> Network:
    """An untrained network, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[architecture](classes)
