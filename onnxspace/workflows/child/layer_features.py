"""Writing the features of all layers of a model, and describing the layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.model.features import FIT
from onnxspace.model.layer_features import write_layer_features
from onnxspace.model.records import Candidate
from onnxspace.model.trunk import Trunk
from onnxspace.workflows.child.layer_choice import choose_layers
from onnxspace.workflows.child.open import PreparedModel


def write_layers(
    prepared: PreparedModel, images: NDArray[np.uint8], folder: Path, advance: Callable[[int], None]
) -> dict[str, Any]:  # fmt: skip
    """Write a file of features for each layer of a model, and return what `workflows.layer_matrix` reads. Raises ModelError."""
    trunk = Trunk(prepared.model)
    found = choose_layers(trunk, prepared.encoder)
    files = write_layer_features(prepared.model, found.layers, images, folder, advance)
    counts = trunk.count_trained_below([layer.tensor for layer in found.layers])
    layers = [
        {
            "tensor": layer.tensor, "shape": _describe_shape(layer), "trained_below": counts[layer.tensor],
            "share_below": float(layer.below), "file": file,
        }
        for layer, file in zip(found.layers, files, strict=True)
    ]  # fmt: skip
    pooled = sum((layer.elements or 0) > FIT for layer in found.layers)
    return {"layers": layers, "skipped": found.skipped, "pooled": pooled, "warnings": list(prepared.model.warnings)}


def _describe_shape(layer: Candidate) -> list[int]:
    """The shape for one image, without the axis of images; empty where it is unknown."""
    return [] if layer.shape is None or None in layer.shape else [int(size or 0) for size in layer.shape[1:]]
