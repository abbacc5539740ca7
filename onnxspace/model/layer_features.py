"""Features of many layers of one network, a file for each: few passes, and memory that does not depend on the number of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import Advance
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import BATCH, FIT, ForwardPass, check_finite, load_pass
from onnxspace.model.model import Model
from onnxspace.model.records import Candidate
from onnxspace.model.rewritten import check_model
from onnxspace.storage.atomic import whole_array

#: The most values of layers that one pass computes: 256 MB for all images of a batch.
_MOST_VALUES = 2**26


def write_layer_features(
    model: Model, layers: Sequence[Candidate], images: NDArray[np.uint8], folder: Path, advance: Advance
) -> list[str]:
    """Write the features of each of `layers` for `images`, uint8 [images, size, size, 3], to a `.npy` file in `folder`.

    They are float32 [images, …], of more than 16,384 values per image averaged over windows, as `write_features` does with "fit".
    `advance` is called with numbers of images, which sum to theirs. Returns the names of the files, in the order of the layers.
    Raises ModelError, AttributionError for values that are not finite, OutputError.
    """
    check_model(model, images)
    names = [f"layer-{number}.npy" for number in range(len(layers))]
    groups, done = list(_group(layers)), 0
    for number, (places, batch) in enumerate(groups, 1):
        tensors = tuple(layers[place].tensor for place in places)
        _write(
            load_pass(model, Encoder(tensors, "layers to be compared"), "fit"),
            images,
            [folder / names[i] for i in places],
            batch,
        )
        advance(len(images) * number // len(groups) - done)
        done = len(images) * number // len(groups)
    return names


def _group(layers: Sequence[Candidate]) -> Iterator[tuple[list[int], int]]:
    """Places of layers that are computed together, and how many images at once."""
    places: list[int] = []
    values = 0
    for place, layer in enumerate(layers):
        size = max(1, layer.elements or FIT)
        if places and values + size > _MOST_VALUES:
            yield places, _count_images(values)
            places, values = [], 0
        places, values = [*places, place], values + size
    if places:
        yield places, _count_images(values)


def _count_images(values: int) -> int:
    return min(BATCH, max(1, _MOST_VALUES // values))


def _write(found: ForwardPass, images: NDArray[np.uint8], files: Sequence[Path], batch: int) -> None:
    found.measure(images)  # tests whether batches agree with single images
    size = found.model.images_at_once
    step = max(1, batch // size) * size
    with ExitStack() as stack:
        appends: list[Callable[[NDArray[Any]], None]] = []
        for start in range(0, len(images), step):
            values = found.split(images[start : start + step])
            for one in values:
                check_finite(one.reshape(len(one), -1), start, found.model.path)
            if not appends:
                forms = [(len(images), *one.shape[1:]) for one in values]
                appends = [
                    stack.enter_context(whole_array(file, form, np.float32)) for file, form in zip(files, forms, strict=True)
                ]
            for append, one in zip(appends, values, strict=True):
                append(one)
