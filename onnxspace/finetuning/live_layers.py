"""Layers that behave in training as their frameworks' do: batch normalisation and dropout."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

#: Share of a batch's statistics in the running ones, PyTorch's default.
MOMENTUM = 0.1


class LiveBatchNorm(nn.Module):
    """Batch normalisation over all axes but the second, called with scale, shift and running statistics as in ONNX.

    In training mode a batch's own statistics are used, and the running ones updated in place. While `sums` is a list, the
    layer passes its input on and appends the sums of values and of squares, float64 [channels], and the count.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, MOMENTUM
        self.sums: list[tuple[Tensor, Tensor, int]] | None = None

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        if self.sums is not None:
            self._add_sums(x)
            return x
        batch = self.training and x.numel() > x.shape[1]  # one value per channel has no variance
        return F.batch_norm(x, mean, variance, scale, shift, batch, self.momentum, self.epsilon)

    def _add_sums(self, x: Tensor) -> None:
        flat = x.transpose(0, 1).flatten(1).double()
        assert self.sums is not None
        self.sums.append((flat.sum(1), flat.square().sum(1), flat.shape[1]))

    def collect(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance, float32 [channels], of what passed through since `sums` was set, and end the collection."""
        assert self.sums is not None
        count = sum(n for _, _, n in self.sums)
        mean = torch.stack([total for total, _, _ in self.sums]).sum(0) / count
        square = torch.stack([total for _, total, _ in self.sums]).sum(0) / count
        self.sums = None
        return mean.float(), (square - mean.square()).clamp_min(0).float()


class LiveDropout(nn.Module):
    """Dropout with the ratio of the file: active in training mode, the identity otherwise."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, x: Tensor, _ratio: Tensor | None = None, _training: Tensor | None = None) -> Tensor:
        return F.dropout(x, self.ratio, self.training)
