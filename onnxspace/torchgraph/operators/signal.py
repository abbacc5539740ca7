"""Fourier transforms, window functions and the mel matrix; complex numbers are stored along a last axis of size two."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxspace.torchgraph.registry import (
    Apply,
    HostValue,
    Node,
    TorchOperator,
    converter,
    read_on_host,
    to_integers,
    torch_type,
)


def _to_complex(x: Tensor) -> Tensor:
    """Convert a tensor whose last axis holds a real number, or a real and an imaginary part, to a complex one."""
    parts = x[..., 0], x[..., 1] if x.shape[-1] == 2 else torch.zeros_like(x[..., 0])
    return torch.complex(*parts)


def _transform(x: Tensor, length: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    """Fourier transform along one axis; if `onesided`, half of it is kept, and the inverse is real."""
    if inverse and onesided:
        signal: Tensor = torch.fft.irfft(_to_complex(x), length, axis)
        return signal.unsqueeze(-1)
    full: Tensor = (torch.fft.ifft if inverse else torch.fft.fft)(_to_complex(x), length, axis)
    real: Tensor = torch.view_as_real(full.narrow(axis, 0, full.shape[axis] // 2 + 1) if onesided else full)
    return real


@converter("DFT", 17, 20)
def dft(node: Node) -> TorchOperator:
    """DFT; its axis is an attribute in version 17, and an input since version 20."""
    default = node.get("axis", 1) if node.version == 17 else -2
    inverse, onesided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))

    def transform(x: Tensor, length: HostValue | None = None, axis: HostValue | None = None) -> Tensor:
        at = default if axis is None else to_integers(axis)[0]
        size = None if length is None else to_integers(length)[0]
        return _transform(x, size, at % x.dim(), inverse, onesided)

    return read_on_host(Apply(transform), 1, 2)


@converter("STFT", 17)
def stft(node: Node) -> TorchOperator:
    """STFT of the frames that lie completely within the signal."""
    onesided = bool(node.get("onesided", 1))

    def transform(signal: Tensor, step: HostValue, window: Tensor | None = None, length: HostValue | None = None) -> Tensor:
        given = window.shape[0] if window is not None else signal.shape[1]
        size = to_integers(length)[0] if length is not None else given
        signal = signal if signal.dim() == 3 else signal.unsqueeze(-1)
        frames = signal.unfold(1, size, to_integers(step)[0]).transpose(2, 3)
        weighted = frames if window is None else frames * window[:, None]
        return _transform(weighted, size, 2, False, onesided)

    return read_on_host(Apply(transform), 1, 3)


#: Coefficients of cosines with 0, 1 and 2 periods.
_WINDOWS = {"HannWindow": (0.5, 0.5, 0.0), "HammingWindow": (25 / 46, 21 / 46, 0.0), "BlackmanWindow": (0.42, 0.5, 0.08)}


@converter("HannWindow", 17)
@converter("HammingWindow", 17)
@converter("BlackmanWindow", 17)
def window(node: Node) -> TorchOperator:
    """HannWindow, HammingWindow and BlackmanWindow: sums of cosines."""
    a, b, c = _WINDOWS[node.operator]
    periodic, dtype = node.get("periodic", 1), torch_type(node.get("output_datatype", 1))

    def values(size: Tensor) -> Tensor:
        count = to_integers(size)[0]
        phase = torch.arange(count, dtype=torch.float32, device=size.device) * (2 * math.pi)
        phase = phase / (count if periodic else count - 1)
        return (a - b * torch.cos(phase) + c * torch.cos(2 * phase)).to(dtype)

    return Apply(values)


@converter("MelWeightMatrix", 17)
def mel_weight_matrix(node: Node) -> TorchOperator:
    """MelWeightMatrix: triangles whose corners are equally spaced on the mel scale and rounded down to bins."""
    dtype = torch_type(node.get("output_datatype", 1))

    def matrix(bands: Tensor, length: Tensor, rate: Tensor, low: Tensor, high: Tensor) -> Tensor:
        count, size = to_integers(bands)[0], to_integers(length)[0]
        ends = [2595 * math.log10(1 + float(edge) / 700) for edge in (low, high)]
        mels = ends[0] + torch.arange(count + 2, dtype=torch.float64) * ((ends[1] - ends[0]) / (count + 2))
        corners = ((size + 1) * 700 * (10 ** (mels / 2595) - 1)).div(to_integers(rate)[0], rounding_mode="floor")
        left, top, right = corners[:-2], corners[1:-1], corners[2:]
        bins = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None]
        rising = torch.where(bins <= top, (bins - left) / (top - left).clamp(min=1), torch.zeros_like(bins))
        falling = (right - bins) / (right - top).clamp(min=1)
        peaked = torch.where((bins < top) | (right == top), rising, falling).clamp(min=0)
        return torch.where((bins == top) & ((right > top) | (left == top)), 1.0, peaked).to(device=bands.device, dtype=dtype)

    return Apply(matrix)
