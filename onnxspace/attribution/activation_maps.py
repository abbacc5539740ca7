"""Maps of activations: their gradient weights them at a tensor with positions; and the product of a transformer's attentions.

With A the activations [channels, rows, columns] of an image at that tensor, S the explained number and g = dS/dA, a map is a sum over
channels, cut at zero. Maps have the grid of the tensor, and are resized to the network's input (bilinear, pixels as squares).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from onnxspace.attribution.gradients import Batch, DifferentiableGraph, InputMaps
from onnxspace.errors import AttributionError
from onnxspace.inputs.methods import Settings, Way
from onnxspace.model.grids import Grid
from onnxspace.torchgraph.verify import outputs_of

Weigh = Callable[[Tensor, Tensor], Tensor]


def _apply_grad_cam(activations: Tensor, gradient: Tensor) -> Tensor:
    """`relu(Σ_k (mean_ij g_k) A_k)`: Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2."""
    return (gradient.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu()


def _apply_grad_cam_plus(activations: Tensor, gradient: Tensor) -> Tensor:
    """`relu(Σ_k w_k A_k)`, `w_k = Σ_ij α relu(g)`, `α = g² / (2g² + (Σ_ab A) g³)`, 0 where g is.

    Chattopadhay et al., "Grad-CAM++", WACV 2018, equations 8, 14 and 19, for S = exp of the explained number, of which the
    derivatives of higher order are powers of the first.
    """
    square, cube = gradient.square(), gradient.pow(3)
    below = 2 * square + activations.sum(dim=(2, 3), keepdim=True) * cube
    alpha = torch.where(square > 0, square / torch.where(below != 0, below, torch.ones_like(below)), torch.zeros_like(below))
    weights = (alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1).relu()


def _apply_layer_cam(activations: Tensor, gradient: Tensor) -> Tensor:
    """`relu(Σ_k relu(g_k) A_k)`: Jiang et al., "LayerCAM", IEEE Transactions on Image Processing 30, 2021, equation 5."""
    return (gradient.relu() * activations).sum(dim=1).relu()


_WEIGHTS: Mapping[Way, Weigh] = {
    "grad-cam": _apply_grad_cam,
    "grad-cam++": _apply_grad_cam_plus,
    "layer-cam": _apply_layer_cam,
}


def map_activations(network: DifferentiableGraph, batch: Batch, _settings: Settings, grid: Grid, way: Way) -> InputMaps:
    """Weight the activations of the network's last output, whose positions are a `grid`, by the gradient of what is explained."""
    return InputMaps(map_every_activation(network, batch, [grid], way)[0])


def map_every_activation(network: DifferentiableGraph, batch: Batch, grids: Sequence[Grid], way: Way) -> list[Tensor]:
    """Maps [images, height, width] at each of the network's last outputs, whose positions are `grids`, from one backward pass.

    Raises AttributionError where no gradient reaches one of them.
    """
    outputs = outputs_of(network.graph, batch.values.detach().requires_grad_(True))
    below, activations = outputs[: -len(grids)], outputs[-len(grids) :]
    explained, size = network.weigh(below, batch.weights or ()), network.input_size(batch.values)
    gradients = (
        torch.autograd.grad(explained, activations, allow_unused=True) if explained.requires_grad else [None] * len(grids)
    )
    maps = []
    for values, found, grid in zip(activations, gradients, grids, strict=True):
        if found is None:
            raise AttributionError(
                f"{network.path}: no gradient reaches its activations from what is explained. Name another --encoder."
            )
        planes = [_to_planes(one, grid, len(batch.values)) for one in (values.detach(), found)]
        maps.append(resize_maps(_WEIGHTS[way](*planes), size))
    return maps


def _to_planes(values: Tensor, grid: Grid, images: int) -> Tensor:
    """Activations as [images, channels, rows, columns], without tokens that stand for no position."""
    if grid.layout == "channels last":
        return values.movedim(3, 1)
    if grid.layout == "tokens":
        return values[:, grid.prefix :].mT.reshape(images, -1, grid.rows, grid.columns)
    return values


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps [images, rows, columns] to `size`, bilinear, with pixels as squares."""
    return torch.nn.functional.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]


def roll_out(network: DifferentiableGraph, batch: Batch, _settings: Settings, grid: Grid, _way: Way) -> InputMaps:
    """`Π_l (½ mean_heads A_l + ½ I)`: the row of the class token, or the mean of all rows where there is none.

    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3; the products are of the last layer first.
    """
    attentions = [_mean_heads(values, len(batch.values)) for values in network.forward(batch.values)]
    flow = multiply_attentions(attentions)
    row = flow[:, 0] if grid.prefix else flow.mean(dim=1)
    maps = row[:, grid.prefix :].reshape(-1, grid.rows, grid.columns)
    return InputMaps(resize_maps(maps, network.input_size(batch.values)))


def _mean_heads(values: Tensor, images: int) -> Tensor:
    """Probabilities as [images, queries, keys]; without an axis of heads, the first has the heads of all images."""
    return values.reshape(images, -1, *values.shape[-2:]).mean(dim=1)


def multiply_attentions(attentions: Sequence[Tensor]) -> Tensor:
    """Return the product of attentions [images, tokens, tokens], each half of it and half of the identity for the residual."""
    unit = torch.eye(attentions[0].shape[-1], dtype=attentions[0].dtype, device=attentions[0].device)
    flow = unit.expand_as(attentions[0])
    for one in attentions:
        flow = (one / one.sum(dim=-1, keepdim=True) + unit) / 2 @ flow
    return flow


#: The ways that need the grid of a tensor.
GRID_WAYS: Mapping[Way, Callable[[DifferentiableGraph, Batch, Settings, Grid, Way], InputMaps]] = {
    **dict.fromkeys(_WEIGHTS, map_activations),
    "rollout": roll_out,
}
