"""Readouts of a frozen network: its head alone, fitted to the features of the training images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.finetuning.targets import Targets, compute_losses, judge
from onnxspace.finetuning.trainee import Trainee

#: Weight of the squared coefficients of standardised features, beside the mean loss.
RIDGE = 1e-2
_STEPS = 100


def fit_readout(trainee: Trainee, targets: Targets, rows: NDArray[np.intp]) -> float:
    """Fit the head of `trainee` to the images `rows`, as `solve_readout` does; returns the mean loss.

    The network below is not changed.
    """
    weight, bias, loss = solve_readout(trainee.features(rows), targets, rows)
    with torch.no_grad():
        trainee.head.weight.copy_(weight)
        trainee.head.bias.copy_(bias)
    return loss


def judge_readouts(trainee: Trainee, targets: Targets, folds: NDArray[np.intp]) -> NDArray[np.float64]:
    """Cross-validate readouts: returns the result of each image, float64 [images], by a readout fitted to the other folds."""
    features, results = trainee.features(np.arange(len(targets))), np.zeros(len(targets))
    for fold in np.unique(folds):
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        weight, bias, _ = solve_readout(features[train], targets, train)
        given = features[held] @ weight.T + bias
        results[held] = judge(targets.kind, np.asarray(given.cpu().numpy()), targets.values[held])
    return results


def solve_readout(features: Tensor, targets: Targets, rows: NDArray[np.intp]) -> tuple[Tensor, Tensor, float]:
    """Fit a linear readout of `features`, float32 [rows, features], by L-BFGS, with a ridge on standardised features.

    Multinomial or binary logistic regression, or least squares, by the kind of targets. Returns weights [outputs, features], biases
    [outputs] and the mean loss.
    """
    mean, deviation = features.mean(0), features.std(0, unbiased=False).clamp_min(1e-6)
    standard, wanted = (features - mean) / deviation, torch.from_numpy(targets.values[rows]).to(features.device)
    weight = torch.zeros(targets.outputs, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(targets.outputs, device=features.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        loss = compute_losses(targets.kind, standard @ weight.T + bias, wanted).mean() + RIDGE * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    loss = optimiser.step(evaluate)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scaled = weight / deviation
        return scaled, bias - scaled @ mean, float(loss)
