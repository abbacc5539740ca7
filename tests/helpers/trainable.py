"""A Torch network with batch normalisation, and its ONNX file with the normalisation merged, as an exporter writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxspace.finetuning.pictures import Pictures
from onnxspace.inputs.preprocess import Preprocess

SIZE = 16


class Normalised(nn.Module):
    """Two convolutions with batch normalisation, a mean over positions, and a linear head."""

    def __init__(self, seed: int = 0, classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.second, self.other = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)
        for layer in (self.norm, self.other):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)

    def features(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return torch.relu(self.other(self.second(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(self.features(x))
        return answers

    @torch.no_grad()
    def settle(self, batches: list[Tensor]) -> Normalised:
        """Set the running statistics to those of `batches` together, and switch to evaluation mode."""
        for layer in (self.norm, self.other):
            layer.momentum = None  # a plain mean over the batches
            layer.reset_running_stats()
        for batch in batches:
            self.train()(batch)
        return self.eval()


def write_merged(network: nn.Module, path: Path) -> Path:
    """Export by PyTorch's TorchScript exporter, which merges batch normalisation into convolutions."""
    torch.onnx.export(
        network.eval(), (torch.zeros(2, 3, SIZE, SIZE),), str(path), dynamo=False, opset_version=17,
        input_names=["image"], dynamic_axes={"image": {0: "N"}},
    )  # fmt: skip
    return path


def draw_pictures(images: int = 40, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random images, uint8 [images, SIZE, SIZE, 3]."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (images, 4, 4, 3))
    return np.asarray(coarse.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2), np.uint8)


def pictures_of(images: NDArray[np.uint8], preprocess: Any = None) -> Pictures:
    """The images as a network takes them, by default NCHW in [−1, 1]."""
    given = preprocess or Preprocess(SIZE, SIZE)
    return Pictures(torch.from_numpy(given.pixels(images)), given)
