"""From a batch of preprocessed images to maps: where gradients are computed, and how they make a map.

The explained scalar S is what a target names, a weighted sum of an output's values. Without a target it is the sum over the encoder's units, or over their deviations above their mean where that sum is a constant: by
this, S does not depend on the units' order, which layouts and exporters change. Every function in `WAYS` takes the network, the batch and the settings,
and treats each image separately: a map does not depend on the batch it was computed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxspace.attribution.recorded_pass import RecordedPass
from onnxspace.errors import AttributionError
from onnxspace.inputs.methods import Settings, Way
from onnxspace.torchgraph.verify import outputs_of

#: Units whose gradients are computed together.
UNITS_AT_ONCE = 16


@dataclass(frozen=True)
class DifferentiableGraph:
    """A graph that can be differentiated with respect to its input.

    `path` is the model file, `channel_axis` the input's axis of channels. `relevance` says that the gradient by its rules is the
    relevance, which is not multiplied by the input. `cache` holds gradients by the digest of their input, for methods with the same
    rules (None: no cache). `deviating` says of each output whether its units' deviations are explained (empty: of none). `recorded`
    runs passes that are recorded for batches of one shape (None: none are).
    """

    path: str
    graph: Callable[[Tensor], Any]
    channel_axis: int
    relevance: bool = False
    cache: dict[bytes, Tensor] | None = None
    deviating: tuple[bool, ...] = ()
    recorded: RecordedPass | None = None

    def explained(self, output: Tensor, place: int, images: int) -> Tensor:
        """Return what is explained of the output at `place` for so many images: the sum of its units, or of their deviations."""
        return sum_deviations(output, images) if self.deviating and self.deviating[place] else output.sum()

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's outputs at `values`, without a gradient."""
        with torch.no_grad():
            return outputs_of(self.graph, values)

    def units(self, values: Tensor) -> Tensor:
        """Return the units of all of the encoder's outputs: [images, units]."""
        return torch.cat([output.reshape(len(values), -1) for output in outputs_of(self.graph, values)], dim=1)

    def gradient(self, values: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Return dS/dx at `values`, of their shape, by the graph's rules; `weights` are those of the outputs' values for a target.

        Raises AttributionError where no gradient reaches the image.
        """
        return self.run(lambda points, *given: self._differentiate(points, given or None), values, *(weights or ()))

    def run(self, compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Return what `compute` does for `inputs`, tensors with images as their first axis: from a recording where passes are recorded."""
        return compute(*inputs) if self.recorded is None else self.recorded.run(compute, inputs)

    def _differentiate(self, values: Tensor, weights: Sequence[Tensor] | None) -> Tensor:
        point = values.detach().requires_grad_(True)
        outputs = outputs_of(self.graph, point)
        if weights is None:
            parts = [self.explained(output, place, len(values)) for place, output in enumerate(outputs)]
            explained = torch.stack(parts).sum()
        else:
            explained = self.weigh(outputs, weights)
        found = torch.autograd.grad(explained, point, allow_unused=True)[0] if explained.requires_grad else None
        if found is None:
            raise AttributionError(self._describe_gap(weights))
        return found

    def _describe_gap(self, weights: Sequence[Tensor] | None) -> str:
        if weights is None:
            return f"{self.path}: no gradient reaches the image from the encoder. Name another --encoder."
        return f"{self.path}: no gradient reaches the image from what is explained. Explain another class or value."

    def weigh(self, outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """Return the sum of the outputs' values by their `weights`, which are repeated for several points of each image."""
        pairs = zip(outputs, weights, strict=True)
        return torch.stack([(output * _repeat(weight, output)).sum() for output, weight in pairs]).sum()

    def input_size(self, values: Tensor) -> tuple[int, int]:
        """Height and width of the network's input `values`."""
        height, width = (size for axis, size in enumerate(values.shape[1:], 1) if axis != self.channel_axis)
        return height, width

    def cached_gradient(self, batch: Batch) -> Tensor:
        """Return the gradient at the batch's values, computed once for all methods that share the cache."""
        if self.cache is None or not batch.key:
            return self.gradient(batch.values, batch.weights)
        if batch.key not in self.cache:
            self.cache[batch.key] = self.gradient(batch.values, batch.weights)
        return self.cache[batch.key].to(batch.values.device)

    def mean_over_channels(self, maps: Tensor) -> Tensor:
        """Return the mean over the input's channels: [images, height, width]."""
        return maps.mean(dim=self.channel_axis)


def _repeat(weights: Tensor, output: Tensor) -> Tensor:
    """`weights` as many times in succession as `output` has images for each of theirs."""
    times = output.shape[0] // max(1, weights.shape[0]) if output.dim() else 1
    return weights.to(output.dtype) if times == 1 else weights.to(output.dtype).repeat(times, *[1] * (output.dim() - 1))


def sum_deviations(output: Tensor, images: int) -> Tensor:
    """Return the sum of the units' deviations above the mean of each image's units; `output` has an axis of `images`.

    >>> sum_deviations(torch.tensor([[1.0, 2.0, 6.0]]), 1).item()
    3.0
    """
    image_axis = next((axis for axis, size in enumerate(output.shape) if size == images), None)
    others = [axis for axis in range(output.dim()) if axis != image_axis]
    mean = output.mean(dim=others, keepdim=True) if others else output.mean()
    return (output - mean.detach()).clamp(min=0).sum()


@dataclass(frozen=True)
class Batch:
    """A batch of preprocessed images.

    `values` is the network's input; `baseline` has its shape (None: zero); `seeds` holds a seed per image, for random sampling.
    `noise(k, share)` yields k samples of noise for every image, with a standard deviation of `share` of the pixel range, in
    units of the network's input. `room` is how many images may be computed at once, if one image needs several gradients. All but the
    first `images` (None: none) repeat others, because the network takes several at a time. `weights` are those of the values of each
    output whose sum a target explains (None: there is no target). `key` is the digest of `values`, by which gradients are kept (empty:
    they are not).
    """

    values: Tensor
    baseline: Tensor | None
    seeds: Sequence[int]
    noise: Callable[[int, float], Iterable[Tensor]]
    room: int = 1
    images: int | None = None
    weights: Sequence[Tensor] | None = None
    key: bytes = b""


@dataclass(frozen=True)
class InputMaps:
    """Maps [images, height, width] at the network's input size; `errors` [images] and `captions` as in `explainer.Maps`."""

    maps: Tensor
    errors: Tensor | None = None
    captions: tuple[str, ...] = ()


def multiply_by_input(network: DifferentiableGraph, batch: Batch, _settings: Settings) -> InputMaps:
    """`(x − b) · g`, or g itself where the rules' gradient is the relevance."""
    return InputMaps(network.mean_over_channels(_multiply_by_difference(network, batch, network.cached_gradient(batch))))


def take_absolute(network: DifferentiableGraph, batch: Batch, _settings: Settings) -> InputMaps:
    """`|dS/dx|`: Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", 2014."""
    return InputMaps(network.mean_over_channels(network.cached_gradient(batch).abs()))


def integrate_line(network: DifferentiableGraph, batch: Batch, settings: Settings) -> InputMaps:
    """`(x − b) · Σ_j w_j ∇S(b + α_j (x − b))`, α and w the Gauss–Legendre nodes and weights on [0, 1].

    Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks", ICML 2017, equation 1. The map's sum tends to
    S(x) − S(b), times the number of channels that it is the mean of.
    """
    nodes, weights = np.polynomial.legendre.leggauss(settings.steps)
    start = torch.zeros_like(batch.values) if batch.baseline is None else batch.baseline
    way = batch.values - start
    points = (start + float(node) * way for node in (nodes + 1) / 2)
    mean = _weighted_sum(network, batch, points, (weights / 2).tolist())
    return InputMaps(network.mean_over_channels(_multiply_by_difference(network, batch, mean)))


def average_noise(network: DifferentiableGraph, batch: Batch, settings: Settings) -> InputMaps:
    """`|mean_k ∇S(x + n_k)|`: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017."""
    points = (batch.values + sample for sample in batch.noise(settings.samples, settings.noise))
    mean = _weighted_sum(network, batch, points, [1 / settings.samples] * settings.samples)
    return InputMaps(network.mean_over_channels(mean.abs()))


def _weighted_sum(network: DifferentiableGraph, batch: Batch, points: Iterator[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ_k w_k ∇S(point k), with as many points per pass as the batch has room for."""
    total = torch.zeros_like(batch.values)
    left = iter(weights)
    while some := list(islice(points, max(1, batch.room // len(batch.values)))):
        for gradient, weight in zip(network.gradient(torch.cat(some), batch.weights).chunk(len(some)), left, strict=False):
            total += weight * gradient
    return total


def average_units(network: DifferentiableGraph, batch: Batch, settings: Settings) -> InputMaps:
    """The mean of `|du/dx|` over the units u, or over some sampled for each image without replacement.

    For n of N units with sample variance s², a pixel's squared standard error is `(1 − n/N) s²/n`.
    """
    point = batch.values.detach().requires_grad_(True)
    units = network.units(point)
    chosen = _draw_units(units.shape[1], settings.units, batch.seeds, units.device)
    count, share = chosen.shape[1], chosen.shape[1] / units.shape[1]
    total, squares = (point.new_zeros(1, dtype=torch.float64) for _ in range(2))
    for rows in _unit_gradients(network, units, point, chosen):
        each = torch.stack([network.mean_over_channels(row.abs()) for row in rows]).double()
        total, squares = total + each.sum(dim=0), squares + each.square().sum(dim=0)
    mean = total / count
    if share == 1:
        return InputMaps(mean.float())
    variance = (squares / count - mean.square()).clamp(min=0) * count / (count - 1)
    error = ((1 - share) * variance / count).sum(dim=(1, 2)).sqrt()
    return InputMaps(mean.float(), error / mean.square().sum(dim=(1, 2)).sqrt().clamp(min=torch.finfo(torch.float64).tiny))


def _draw_units(total: int, wanted: int, seeds: Sequence[int], device: torch.device) -> Tensor:
    """Indices of the sampled units: [images, units]."""
    if wanted >= total:
        return torch.arange(total, device=device).expand(len(seeds), total)
    drawn = np.stack([np.random.default_rng(seed).permutation(total)[:wanted] for seed in seeds])
    return torch.from_numpy(drawn).to(device)


def _unit_gradients(network: DifferentiableGraph, units: Tensor, point: Tensor, chosen: Tensor) -> Iterator[Tensor]:
    """Yield gradients of the chosen units, several at a time: [units, images, …]; one by one where they can't be batched."""
    if not units.requires_grad:
        raise AttributionError(f"{network.path}: no gradient reaches the image from the encoder. Name another --encoder.")
    together = True
    for first in range(0, chosen.shape[1], UNITS_AT_ONCE):
        some = chosen[:, first : first + UNITS_AT_ONCE].T
        seeds = torch.zeros(len(some), *units.shape, dtype=units.dtype, device=units.device)
        seeds.scatter_(2, some[:, :, None], 1.0)
        if together:
            try:
                yield _vjp(units, point, seeds, batched=True)
                continue
            except RuntimeError as error:
                if "memory" in str(error).lower():
                    raise
                together = False
        yield torch.stack([_vjp(units, point, seed, batched=False) for seed in seeds])


def _vjp(units: Tensor, point: Tensor, seeds: Tensor, *, batched: bool) -> Tensor:
    found = torch.autograd.grad(
        units, point, seeds, retain_graph=True, is_grads_batched=batched, allow_unused=True, materialize_grads=True
    )
    return found[0]


def _multiply_by_difference(network: DifferentiableGraph, batch: Batch, gradient: Tensor) -> Tensor:
    if network.relevance:
        return gradient
    return gradient * (batch.values if batch.baseline is None else batch.values - batch.baseline)


#: The functions that `onnxspace.inputs.methods.MethodSpec.way` names; those of `activation_maps` need the grid of a tensor too.
WAYS: Mapping[Way, Callable[[DifferentiableGraph, Batch, Settings], InputMaps]] = {
    "product": multiply_by_input,
    "absolute": take_absolute,
    "line": integrate_line,
    "noise": average_noise,
    "units": average_units,
}
