"""What pictures of a task say of sources where there are no labels and no network of the task: statistics of each source alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.probes import Probes
from onnxspace.model.encoder import Encoder, find_encoder
from onnxspace.model.features import write_features
from onnxspace.model.model import Model, open_model
from onnxspace.model.outputs import find_float_outputs
from onnxspace.storage.atomic import scratch_folder

Numbers = NDArray[np.float64]
STATISTICS = ("effective rank", "confidence", "self-retrieval")
_SHIFT = 2  # pixels


def describe_source(file: Path, pictures: Probes) -> Mapping[str, float]:
    """Measure one source on pictures: effective rank of its features, confidence of its answers, and self-retrieval.

    The effective rank is the exponential of the entropy of the features' spectrum (Roy and Vetterli, EUSIPCO 2007), confidence the
    mean largest probability, self-retrieval the share of pictures that are nearest to their own copy shifted by two pixels, by
    the cosine of features.
    """
    model = open_model(file)
    encoder = find_encoder(model)
    images = pictures.images
    features = _read(model, encoder, images)
    shifted = _read(model, encoder, np.ascontiguousarray(np.roll(images, _SHIFT, axis=2)))
    outputs = _read(model, find_float_outputs(model), images)
    values = (_effective_rank(features), _confidence(outputs), _self_retrieval(features, shifted))
    return dict(zip(STATISTICS, values, strict=True))


def _read(model: Model, tensors: Encoder, images: NDArray[np.uint8]) -> Numbers:
    """Values of tensors, means over positions, float64 [images, values]."""
    with scratch_folder() as folder:
        write_features(model, tensors, images, folder / "values.npy", "mean")
        return np.asarray(np.load(folder / "values.npy"), np.float64).reshape(len(images), -1)


def _effective_rank(features: Numbers) -> float:
    power = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    shares = power[power > 0] / power.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _confidence(outputs: Numbers) -> float:
    if outputs.min() < 0 or abs(outputs.sum(1) - 1).max() > 1e-3:
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        outputs = powers / powers.sum(1, keepdims=True)
    return float(outputs.max(1).mean())


def _self_retrieval(features: Numbers, shifted: Numbers) -> float:
    one, other = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (features, shifted))
    return float(((one @ other.T).argmax(1) == np.arange(len(one))).mean())
