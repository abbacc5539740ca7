"""Pixels of objects in probe images, as they are sent to a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxspace.inputs.areas import Mask
from onnxspace.inputs.probes import Probes
from onnxspace.storage.atomic import write_array
from onnxspace.storage.regular_files import load_array


def encode_objects(objects: Sequence[Mask] | None, file: Path) -> str | None:
    """Write which pixels of each image are on objects to the `.npy` file `file`, and return its name; None where they are unknown.

    Raises OutputError.
    """
    if objects is None:
        return None
    size = next(len(mask) for mask in objects if mask is not None)
    write_array(file, np.stack([np.zeros((size, size), bool) if mask is None else mask for mask in objects]))
    return str(file.absolute())


def decode_objects(file: str | None, probes: Probes) -> tuple[Mask, ...] | None:
    """What `encode_objects` has encoded; an image without an object has None. Raises ValueError for masks of another form."""
    if file is None:
        return None
    masks = load_array(Path(file))
    if masks.shape != probes.images.shape[:3] or masks.dtype != np.bool_:
        raise ValueError("masks have another form than the images")
    return tuple(mask if mask.any() else None for mask in masks)
