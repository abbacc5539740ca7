"""Which pixels of probe images are on an object: inside of boxes, or on the bright pixels of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.inputs.boxes import Box
from onnxspace.inputs.probes import Probes

#: Which pixels of an image are on an object, bool [size, size]; None for an image without one.
Mask = NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Areas:
    """The `objects` of each image, and the same `widened` by a distance, within which a map may point beside them."""

    objects: tuple[Mask, ...]
    widened: tuple[Mask, ...]


def find_areas(
    probes: Probes, boxes: Sequence[Sequence[Box]] | None, masks: Sequence[Mask] | None, tolerance: int
) -> Areas | None:
    """Return what `boxes` or `masks` say of the images, widened by `tolerance` pixels; None where neither is given.

    `boxes` has the boxes of each image in pixels of `probes`, `masks` a mask of their size for each, or None. Raises ConfigError for
    both, for another number, another size, and where no image has an object.
    """
    if boxes is not None and masks is not None:
        raise ConfigError("Boxes and masks are two answers to where objects are. Give one of them.")
    if boxes is not None:
        return Areas(cover_boxes(boxes, probes, 0), cover_boxes(boxes, probes, tolerance))
    if masks is None:
        return None
    objects = check_masks(masks, probes)
    return Areas(objects, tuple(None if mask is None else widen(mask, tolerance) for mask in objects))


def cover_boxes(boxes: Sequence[Sequence[Box]], probes: Probes, tolerance: int) -> tuple[Mask, ...]:
    """Return which pixels of each image are inside one of its boxes, bool [size, size]; None for an image without one.

    A pixel is inside where its centre is, or not farther than `tolerance` pixels. Raises ConfigError where the numbers differ or no
    image has a box.
    """
    if len(boxes) != len(probes):
        raise ConfigError(f"There are boxes for {len(boxes)} images, but {len(probes)} images. Give a sequence for each image.")
    centres = np.arange(probes.size, dtype=np.float64) + 0.5
    found = tuple(_cover(listed, centres, tolerance) if listed else None for listed in boxes)
    if all(mask is None or not mask.any() for mask in found):
        raise ConfigError("No image has a box inside it. Give boxes in pixels of the images.")
    return tuple(mask if mask is not None and mask.any() else None for mask in found)


def _cover(boxes: Sequence[Box], centres: NDArray[np.float64], tolerance: int) -> NDArray[np.bool_]:
    mask = np.zeros((len(centres), len(centres)), bool)
    for box in boxes:
        rows, columns = (
            np.maximum(np.maximum(start - centres, centres - start - length), 0)
            for start, length in ((box.y, box.height), (box.x, box.width))
        )
        mask |= np.hypot(rows[:, None], columns[None, :]) <= tolerance
    return mask


def check_masks(masks: Sequence[Mask], probes: Probes) -> tuple[Mask, ...]:
    """Return the masks, None for an empty one. Raises ConfigError for another number or form, and where all are empty."""
    if len(masks) != len(probes):
        raise ConfigError(f"There are masks for {len(masks)} images, but {len(probes)} images. Give a mask or None for each.")
    for mask in masks:
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != (probes.size, probes.size)):
            raise ConfigError(
                f"A mask is {mask.dtype} {list(mask.shape)} but must be bool [{probes.size}, {probes.size}], as the images are."
            )
    found = tuple(mask if mask is not None and mask.any() else None for mask in masks)
    if not any(mask is not None for mask in found):
        raise ConfigError("No image has a mask with a pixel inside it. Give masks of the objects.")
    return found


def widen(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Return the pixels whose centres are not farther than `distance` pixels from the centre of one in `mask`."""
    from scipy.ndimage import distance_transform_edt

    if distance == 0:
        return mask
    near: NDArray[np.bool_] = distance_transform_edt(~mask) <= distance
    return near
