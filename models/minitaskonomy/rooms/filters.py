"""Filters on images and label maps: Gaussian windows, Sobel derivatives, corners."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def pad_rim(values: Tensor, by: int) -> Tensor:
    """[n, c, height, width] with its rim repeated."""
    return functional.pad(values, (by,) * 4, mode="replicate")


def blur(values: Tensor, sigma: float) -> Tensor:
    """[n, c, height, width] under a Gaussian window."""
    reach = int(np.ceil(2.5 * sigma))
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / sigma) ** 2)
    window, channels = window / window.sum(), values.shape[1]
    rows = functional.conv2d(pad_rim(values, reach), window.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return functional.conv2d(rows, window.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)


def compute_slopes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives across and down, per pixel."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=values.device) / 8
    pair = torch.stack((kernel, kernel.T))[:, None].repeat(values.shape[1], 1, 1, 1)
    both = functional.conv2d(pad_rim(values, 1), pair, groups=values.shape[1])
    return both[:, ::2], both[:, 1::2]


def compute_cornerness(values: Tensor) -> Tensor:
    """Square root of the structure tensor's least eigenvalue (Shi and Tomasi, CVPR 1994), [n, 1, height, width]."""
    across, down = compute_slopes(values)
    products = torch.stack([(a * b).sum(1) for a, b in ((across, across), (across, down), (down, down))], 1)
    a, b, c = blur(products, 1.5).unbind(1)
    return ((a + c) / 2 - (((a - c) / 2) ** 2 + b * b).sqrt()).clamp_min(0).sqrt()[:, None]


def compute_brightness(image: Tensor) -> Tensor:
    """[n, height, width, 3] to [n, 1, height, width]."""
    return (image @ torch.tensor([0.299, 0.587, 0.114], device=image.device))[:, None]


def shift(values: Tensor, down: int, right: int) -> Tensor:
    """`values[..., y + down, x + right]` of [n, height, width(, c)], the rim repeated."""
    height, width = values.shape[1:3]
    rows = (torch.arange(height, device=values.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=values.device) + right).clamp(0, width - 1)
    return values[:, rows][:, :, columns]
