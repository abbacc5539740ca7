"""A graph that takes N images at a time, for any multiple of N: each image's outputs are functions of that image alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onnxspace.model.image_groups import ImageGroup, image_shape
from onnxspace.torchgraph.verify import outputs_of


@dataclass(frozen=True)
class GroupedForward:
    """The outputs of `graph`, each [images, …], for a multiple of N images; `axes` are those on which its outputs have the images.

    Where images of one batch influence each other, an image's outputs are differentiated with respect to that image, while the
    others of its batch stay as they are: dS_i/dx_i for the sum S_i of its own units. This takes N passes for N images.
    """

    graph: Callable[[Tensor], Any]
    group: ImageGroup
    axes: tuple[int, ...]

    def __call__(self, values: Tensor) -> tuple[Tensor, ...]:
        rows = [self._compute(part) for part in torch.split(values, self.group.size)]
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))

    def _compute(self, values: Tensor) -> list[Tensor]:
        if not (self.group.mixed and values.requires_grad):
            return self._split(values)
        each = [self._compute_one(values, place) for place in range(self.group.size)]
        return [torch.stack(column) for column in zip(*each, strict=True)]

    def _compute_one(self, values: Tensor, place: int) -> list[Tensor]:
        """The outputs of the image at `place`, which depend on that image alone."""
        live = (torch.arange(len(values), device=values.device) == place).reshape(-1, *[1] * (values.dim() - 1))
        return [output[place] for output in self._split(torch.where(live, values, values.detach()))]

    def _split(self, values: Tensor) -> list[Tensor]:
        moved = [output.movedim(axis, 0) for output, axis in zip(outputs_of(self.graph, values), self.axes, strict=True)]
        return [output.reshape(image_shape(output.shape, self.group.size)) for output in moved]
