"""The signal of a network at an encoder or output, computed by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.values import Signal
from onnxspace.errors import AttributionError, ModelError
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import compute_per_image, write_features
from onnxspace.model.model import Model

#: The largest number of values per image that is observed; even networks that output images give fewer.
_MOST_VALUES = 2**22


def observe_signal(model: Model, place: Encoder, images: NDArray[np.uint8], file: Path) -> Signal:
    """The signal of `model` at the tensors of `place` for `images` uint8 [images, size, size, 3]; `file` is for its values.

    Several tensors are concatenated in the order of their sizes and norms, since the order of nodes depends on the exporter.
    Raises ModelError and AttributionError.
    """
    if len(place.tensors) == 1:
        return Signal.of(*_read_values(model, place, images, file))
    rows = [one.reshape(len(one), -1).astype(np.float32) for one in compute_per_image(model, place.tensors, images)]
    _refuse_too_many(model, place, sum(one.shape[1] for one in rows))
    joined = np.concatenate(sorted(rows, key=lambda one: (one.shape[1], float(np.linalg.norm(one)))), axis=1)
    if not np.isfinite(joined).all():
        raise AttributionError(f"{model.path} computes NaN or infinity at its encoder. Check its weights and preprocessing.")
    return Signal.of(joined, (joined.shape[1],))


def _read_values(
    model: Model, place: Encoder, images: NDArray[np.uint8], file: Path
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    found = write_features(model, place, images, file)
    _refuse_too_many(model, place, found.values.shape[1])
    return np.array(found.values), found.shape


def _refuse_too_many(model: Model, place: Encoder, values: int) -> None:
    if values > _MOST_VALUES:
        raise ModelError(f"{model.path} gives {values:,} values per image at {place}. Name another --encoder.")
