"""Normalisation: layer, RMS, group, instance, batch, Lp, mean-variance, and local response."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply, Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows
#: ONNX Runtime's own operators have no schema in the standard domain, so the opset is their version.
_ANY_OPSET = range(1, 40)


Axes = tuple[int, ...]


def _resolve_axes(x: Tensor, axis: int | Axes) -> Axes:
    """The axes from `axis` on, or those that it lists, as non-negative numbers."""
    return tuple(range(axis % x.dim(), x.dim())) if isinstance(axis, int) else tuple(sorted(a % x.dim() for a in axis))


def _scale_and_shift(x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x if scale is None else x * scale
    return scaled if bias is None else scaled + bias


def layer_norm(
    x: Tensor, scale: Tensor | None, bias: Tensor | None, axis: int | Axes, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer normalisation over the axes from `axis` on, or over those listed: the result, the mean, and 1/deviation."""
    axes = _resolve_axes(x, axis)
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    return _scale_and_shift(centred * inverse, scale, bias), mean, inverse


def rms_norm(x: Tensor, scale: Tensor | None, axis: int | Axes, eps: float) -> tuple[Tensor, Tensor]:
    """RMS normalisation over the axes from `axis` on, or over those listed: the result, and 1/root mean square."""
    inverse = torch.rsqrt((x * x).mean(_resolve_axes(x, axis), keepdim=True) + eps)
    return _scale_and_shift(x * inverse, scale, None), inverse


class LayerNorm(nn.Module):
    """Layer normalisation with one to three outputs.

    Over the axes from `axis` on, to which scale and bias are broadcast, or over listed axes, where these are broadcast
    against x.
    """

    def __init__(self, axis: int | Axes, eps: float, outputs: int) -> None:
        super().__init__()
        self.axis, self.eps, self.outputs = axis, eps, outputs

    def forward(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        axes = _resolve_axes(x, self.axis)
        shape = x.shape[axes[0] :]
        fits = len(axes) == len(shape) and all(value is None or value.shape == shape for value in (scale, bias))
        if self.outputs == 1 and fits:
            return F.layer_norm(x, shape, scale, bias, self.eps)
        result = layer_norm(x, scale, bias, axes, self.eps)
        return result[0] if self.outputs == 1 else result


@converter("LayerNormalization", 17)
@converter("LayerNormalization", *_RUNTIME, domain=_MICROSOFT)
def layer_normalization(node: Node) -> TorchOperator:
    """LayerNormalization over any trailing axes, with mean and inverse deviation."""
    return LayerNorm(node.get("axis", -1), node.get("epsilon", 1e-5), node.outputs)


class RMSNorm(nn.Module):
    """RMS normalisation with one or two outputs, over the axes that `LayerNorm` takes."""

    def __init__(self, axis: int | Axes, eps: float, outputs: int) -> None:
        super().__init__()
        self.axis, self.eps, self.outputs = axis, eps, outputs

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        result = rms_norm(x, scale, self.axis, self.eps)
        return result[0] if self.outputs == 1 else result


@converter("RMSNormalization", 23)
@converter("SimplifiedLayerNormalization", *_ANY_OPSET)
@converter("SimplifiedLayerNormalization", *_RUNTIME, domain=_MICROSOFT)
def rms_normalization(node: Node) -> TorchOperator:
    """RMSNormalization, which ONNX Runtime calls SimplifiedLayerNormalization."""
    return RMSNorm(node.get("axis", -1), node.get("epsilon", 1e-5), node.outputs)


class GroupNorm(nn.Module):
    """Group normalisation.

    Scale and bias are per channel, per group if `repeated`, or have several axes and are broadcast against x.
    """

    def __init__(self, groups: int, eps: float, repeated: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.repeated = groups, eps, repeated

    def forward(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if any(value is not None and value.dim() > 1 for value in (scale, bias)):
            return _scale_and_shift(torch.group_norm(x, self.groups, eps=self.eps), scale, bias)
        if self.repeated:
            size = x.shape[1] // self.groups
            scale, bias = (None if value is None else value.repeat_interleave(size) for value in (scale, bias))
        return torch.group_norm(x, self.groups, scale, bias, self.eps)


@converter("GroupNormalization", 18, 21)
def group_normalization(node: Node) -> TorchOperator:
    """GroupNormalization; scale and bias are per group in version 18, and per channel since version 21."""
    return GroupNorm(node.get("num_groups"), node.get("epsilon", 1e-5), node.version < 21)


class InstanceNorm(nn.Module):
    """Instance normalisation: group normalisation with one channel per group, which also accepts a single pixel."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return torch.group_norm(x, x.shape[1], scale, bias, self.eps)


@converter("InstanceNormalization", 1, 6, 22)
def instance_normalization(node: Node) -> TorchOperator:
    """InstanceNormalization."""
    return InstanceNorm(node.get("epsilon", 1e-5))


class BatchNorm(nn.Module):
    """`(x − mean) / √(variance + ε) · scale + bias`, per channel, or per activation if not `spatial`.

    One value per channel is per channel in any case: MXNet wrote `spatial` 0 with such values.
    """

    def __init__(self, eps: float, spatial: bool, stored: bool) -> None:
        super().__init__()
        self.eps, self.spatial, self.stored = eps, spatial, stored

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        spatial = self.spatial or scale.dim() == 1
        if spatial and self.stored:
            return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=self.eps)
        # Torch's batch_norm passes no gradient to the statistics.
        shape = (-1, *[1] * (x.dim() - 2)) if spatial else mean.shape
        scale, bias, mean, variance = (value.reshape(shape) for value in (scale, bias, mean, variance))
        return (x - mean) * torch.rsqrt(variance + self.eps) * scale + bias


@converter("BatchNormalization", 1, 6, 7, 9, 14, 15)
def batch_normalization(node: Node) -> TorchOperator:
    """BatchNormalization in inference mode, with constant or computed statistics."""
    tests = node.get("is_test", 0) if node.version < 7 else not node.get("training_mode", 0)
    if not tests or any(node.proto.output[1:]):
        raise NotImplementedError("batch normalisation in training mode")
    stored = all(node.constant_of(name) is not None for name in node.proto.input[3:5])
    return BatchNorm(node.get("epsilon", 1e-5), bool(node.get("spatial", 1)), stored)


def _normalise_lp(x: Tensor, axis: int, p: int) -> Tensor:
    """`x` divided by its p-norm along `axis`; zero where the norm is."""
    norm = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@converter("LpNormalization", 1, 22)
def lp_normalization(node: Node) -> TorchOperator:
    """LpNormalization along one axis."""
    return Apply(partial(_normalise_lp, axis=node.get("axis", -1), p=node.get("p", 2)))


def _standardise(x: Tensor, axes: list[int]) -> Tensor:
    """Zero mean and unit variance over `axes`; zero where all values are equal."""
    centred = x - x.mean(axes, keepdim=True)
    variance = (centred * centred).mean(axes, keepdim=True)
    flat = variance == 0
    return centred / (torch.sqrt(torch.where(flat, torch.ones_like(variance), variance)) + 1e-9)


@converter("MeanVarianceNormalization", 9, 13)
def mean_variance_normalization(node: Node) -> TorchOperator:
    """MeanVarianceNormalization."""
    return Apply(partial(_standardise, axes=list(node.get("axes", [0, 2, 3]))))


def _local_response(x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """`x / (bias + alpha/size · Σ x²)^beta`, the sum over `size` neighbouring channels."""
    before = (size - 1) // 2
    padded = F.pad(x * x, [0, 0] * (x.dim() - 2) + [before, size - 1 - before])
    total = padded.narrow(1, 0, x.shape[1])
    for offset in range(1, size):
        total = total + padded.narrow(1, offset, x.shape[1])
    return x / (bias + alpha / size * total) ** beta


@converter("LRN", 1, 13)
def lrn(node: Node) -> TorchOperator:
    """LRN; a window of even size extends further to higher channels than to lower ones."""
    values = {name: node.get(name, default) for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    function: Callable[[Tensor], Tensor] = partial(_local_response, size=node.get("size"), **values)
    return Apply(function)
