"""A readout of a frozen network: its head alone, fitted to the features of the training images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.finetuning.targets import Targets, compute_losses
from onnxspace.finetuning.trainee import Trainee

#: Weight of the squared coefficients of standardised features, beside the mean loss.
RIDGE = 1e-2
_STEPS = 100


def fit_readout(trainee: Trainee, targets: Targets, rows: NDArray[np.intp]) -> float:
    """Fit the head of `trainee` to the images `rows` by L-BFGS, with a ridge on standardised features; returns the mean loss.

    The network below is not changed. Multinomial or binary logistic regression, or least squares, by the kind of targets.
    """
    with torch.no_grad():
        features = trainee.features(rows)
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
        trainee.head.weight.copy_(weight / deviation)
        trainee.head.bias.copy_(bias - (weight / deviation) @ mean)
    return float(loss)
