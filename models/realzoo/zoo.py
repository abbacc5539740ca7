"""The sources: which network learns which task, how well, and how it is exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.realzoo.data.pool import Pixels

Training = Literal["well", "barely", "shuffled labels", "none"]
Exporter = Literal["torchscript", "dynamo", "keras"]
#: Scale of the byte, mean and standard deviation of each channel.
PREPROCESSING: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    "unit": (1 / 255, (0.0,) * 3, (1.0,) * 3),
    "symmetric": (1 / 255, (0.5,) * 3, (0.5,) * 3),
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "byte": (1.0, (0.0,) * 3, (1.0,) * 3),
}


@dataclass(frozen=True)
class Source:
    """One network of the zoo. `byte` networks divide by 255 themselves: what they learn from is `unit`."""

    architecture: str
    task: str
    preprocessing: str
    exporter: Exporter = "torchscript"
    training: Training = "well"

    @property
    def name(self) -> str:
        """The file's name, without what was done in training: a user isn't told either."""
        return f"{self.task}-{self.architecture}"

    @property
    def family(self) -> str:
        """The architecture, plain networks with and without normalisation taken together."""
        return "plain" if self.architecture == "bare" else self.architecture


_ALL = (
    Source("residual", "clothes", "symmetric"),
    Source("residual", "emoji", "imagenet"),
    Source("residual", "letters", "symmetric", "dynamo"),
    Source("residual", "shapes", "unit"),
    Source("residual", "regions", "imagenet", "dynamo"),
    Source("residual", "turns", "symmetric"),
    Source("residual", "light", "symmetric", "keras"),
    Source("residual", "clipart", "imagenet", training="barely"),
    Source("residual", "scripts", "symmetric", training="none"),
    Source("plain", "digits", "unit"),
    Source("plain", "emoji", "byte", "keras"),
    Source("plain", "surfaces", "symmetric"),
    Source("bare", "scripts", "symmetric"),
    Source("bare", "clothes", "unit"),
    Source("bare", "colours", "imagenet", "dynamo"),
    Source("bare", "letters", "symmetric", training="shuffled labels"),
    Source("depthwise", "letters", "imagenet"),
    Source("depthwise", "regions", "symmetric"),
    Source("depthwise", "clipart", "imagenet", "dynamo"),
    Source("depthwise", "count", "byte", "keras"),
    Source("depthwise", "digits", "unit", training="barely"),
    Source("vit", "shapes", "symmetric"),
    Source("vit", "digits", "imagenet"),
    Source("vit", "surfaces", "unit", "dynamo"),
)
SOURCES = {source.name: source for source in _ALL}


def preprocess(images: Pixels, kind: str) -> NDArray[np.float32]:
    """Bytes [n, 32, 32, 3] as the network of PyTorch takes them, float32 [n, 3, 32, 32]."""
    scale, mean, std = PREPROCESSING["unit" if kind == "byte" else kind]
    scaled = (images.astype(np.float32) * np.float32(scale) - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 1))
