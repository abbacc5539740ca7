"""Whether a batch normalisation was folded into the layer before it, and what went wrong where its result is another one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.weight_records import measure_gap
from onnxspace.model.constant_weights import MOST_STEPS, evaluate
from onnxspace.model.graph import Graph

Array = NDArray[np.float64]
#: Relative difference of factors up to which they are right, that up to which a mistake explains them, and that from which on one is searched for.
_FITS, _EXPLAINED = 1e-3, 5e-5
#: Relative difference of rows, up to a factor of each, from which on this is another layer.
_OTHER = 0.05


@dataclass(frozen=True)
class FoldedNorm:
    """A batch normalisation that is in the weights of the new layer.

    `factor` is the smallest and largest factor by which its channels' weights differ from the right ones, `bias` the relative difference
    of its bias, `cause` what explains both, or empty; `right` says that both are as they must be.
    """

    right: bool
    factor: tuple[float, float]
    bias: float
    cause: str

    def to_dict(self) -> dict[str, Any]:
        return {"right": self.right, "factor": list(self.factor), "bias": self.bias, "cause": self.cause}


def compare_folded(graph: Graph, norm: NodeProto, old: LayerWeights, new: LayerWeights) -> FoldedNorm | None:
    """How the layer `old` with the normalisation `norm` behind it was folded into `new`; None where `new` has other weights."""
    found = _read_parameters(graph, norm)
    if found is None or old.rows.shape != new.rows.shape or len(old.rows) != len(found[0]):
        return None
    first, second = (one.rows.astype(np.float64).reshape(len(one.rows), -1) for one in (old, new))
    gamma, beta, mean, variance, epsilon = found
    before = old.bias.astype(np.float64) if len(old.bias) else np.zeros(len(first))
    after = new.bias.astype(np.float64) if len(new.bias) else np.zeros(len(first))
    gain = gamma / np.sqrt(variance + epsilon)
    own = (first * second).sum(1) / np.maximum((first * first).sum(1), 1e-30)
    if measure_gap(second, first * own[:, None]) > _OTHER:
        return None
    factors = own / np.where(np.abs(gain) > 1e-30, gain, np.inf)
    live = factors[np.abs(gain) > 1e-30]
    offset = (before - mean) * gain + beta
    gap = measure_gap(offset, after)
    off = float(np.abs(live - 1).max(initial=0))
    near = off <= _FITS and gap <= 10 * _FITS
    cause = "" if off <= _EXPLAINED and gap <= 10 * _EXPLAINED else _find_cause(found, before, own, after)
    right = near and not cause
    return FoldedNorm(right, (float(live.min(initial=1)), float(live.max(initial=1))), float(min(gap, 1e30)), cause)


def fold_norm(graph: Graph, norm: NodeProto, layer: LayerWeights) -> LayerWeights:
    """The layer with a batch normalisation folded into its weights; as it is where that can't be done."""
    found = _read_parameters(graph, norm)
    if found is None or len(found[0]) != len(layer.rows):
        return layer
    gamma, beta, mean, variance, epsilon = found
    gain = gamma / np.sqrt(variance + epsilon)
    bias = layer.bias.astype(np.float64) if len(layer.bias) else np.zeros(len(gain))
    rows = layer.rows * gain.reshape(-1, *[1] * (layer.rows.ndim - 1))
    return replace(layer, rows=rows.astype(np.float32), bias=((bias - mean) * gain + beta).astype(np.float32))


def _read_parameters(graph: Graph, norm: NodeProto) -> tuple[Array, Array, Array, Array, float] | None:
    """Scale, shift, mean, variance and epsilon."""
    values = [evaluate(graph, name, MOST_STEPS) for name in norm.input[1:5]]
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    rows = [one.astype(np.float64).reshape(-1) for one in values if one is not None]
    if len(rows) != 4 or len({len(row) for row in rows}) != 1:
        return None
    return rows[0], rows[1], rows[2], rows[3], float(epsilon)


def _find_cause(found: tuple[Array, Array, Array, Array, float], before: Array, gain: Array, bias: Array) -> str:
    """The mistake that gives these factors and this bias, of the usual ones."""
    gamma, beta, mean, variance, epsilon = found
    root = np.sqrt(variance + epsilon)
    right = gamma / root
    mistakes = {
        "the scale was left out": 1 / root,
        "it was applied twice": right * right,
        "the variance was left out": gamma,
        "it divides by the variance instead of its square root": gamma / (variance + epsilon),
        "it multiplies by the square root of the variance instead of dividing by it": gamma * root,
        "epsilon was left out": gamma / np.sqrt(np.maximum(variance, 1e-30)),
        "epsilon was added to the square root": gamma / (np.sqrt(np.maximum(variance, 0)) + epsilon),
        "epsilon is 0.001": gamma / np.sqrt(variance + 1e-3),
        "epsilon is 0.00001": gamma / np.sqrt(variance + 1e-5),
        "the weights were not scaled": np.ones_like(gamma),
    }
    if (off := measure_gap(right, gain)) > _EXPLAINED:
        fit = min(mistakes, key=lambda words: measure_gap(mistakes[words], gain))
        return fit if measure_gap(mistakes[fit], gain) <= (_FITS if off > 10 * _FITS else _EXPLAINED) else ""
    shifts = {
        "the mean was left out of the bias": before * right + beta,
        "the shift was left out of the bias": (before - mean) * right,
        "the mean has the wrong sign": (before + mean) * right + beta,
        "the bias was not folded": before,
        "the mean was not scaled": before * right - mean + beta,
        "the layer's own bias was not scaled": before - mean * right + beta,
        "the layer's own bias was left out": -mean * right + beta,
    }
    fit = min(shifts, key=lambda words: measure_gap(shifts[words], bias))
    return fit if measure_gap(shifts[fit], bias) <= 10 * _FITS < measure_gap((before - mean) * right + beta, bias) else ""
